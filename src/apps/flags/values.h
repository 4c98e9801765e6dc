// Values of flags: each function binds a variable, which lives at least as long as the command. Its present value is
// shown as the default.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "apps/flags/command.h"

namespace quire {

FlagValue on_off(bool& to);
// A switch that runs `action` in place of the command, as --version does.
FlagValue instead(std::function<void()> action);

FlagValue text(std::string& to, std::string metavar = "TEXT");
FlagValue text(std::optional<std::string>& to, std::string metavar = "TEXT");
// Repeatable; or with a count above 1, so many texts behind one mention.
FlagValue texts(std::vector<std::string>& to, std::string metavar = "TEXT", int count = 1);
// Of "--flag a b c" too, once the command has its positional arguments.
FlagValue texts_in_a_row(std::vector<std::string>& to, std::string metavar = "TEXT");
FlagValue choice(std::string& to, std::vector<std::string> choices);
// Separated by commas; none of `choices` when that is empty.
FlagValue words(std::vector<std::string>& to, std::vector<std::string> choices = {});

// Bytes: "8GiB", "500MB"; a number without a unit is GiB, as vLLM reads such flags, for nobody means a few bytes.
FlagValue gibibytes(std::optional<uint64_t>& to, uint64_t least);
// A count: "4096", "32K", "25.6k".
FlagValue quantity(std::optional<uint64_t>& to, std::string metavar, uint64_t low = 1);

// Any finite number in [low, high].
FlagValue real(double& to, double low = std::numeric_limits<double>::lowest(),
               double high = std::numeric_limits<double>::max());
FlagValue real(float& to, float low = std::numeric_limits<float>::lowest(),
               float high = std::numeric_limits<float>::max());
// Numbers in (0, 1e6], separated by commas.
FlagValue positives(std::vector<double>& to);
// So many numbers behind one mention.
FlagValue reals(std::vector<double>& to, int count);

// All of `text` as a whole number of the type.
template <typename T>
std::optional<T> parse_whole(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <typename T>
std::string expected_whole(T low, T high) {
  constexpr bool is_wide = sizeof(T) >= 4;  // the ends of its range tell a reader nothing
  if (!is_wide || high != std::numeric_limits<T>::max()) {
    return fmt::format("a whole number from {} to {}", low, high);
  }
  if (std::is_signed_v<T> && low == std::numeric_limits<T>::lowest()) return "a whole number";
  return fmt::format("a whole number of at least {}", low);
}

// A whole number in [low, high].
template <typename T>
FlagValue number(T& to, std::type_identity_t<T> low = std::numeric_limits<T>::lowest(),
                 std::type_identity_t<T> high = std::numeric_limits<T>::max()) {
  static_assert(std::is_integral_v<T>);
  const auto parse = [&to, low, high](std::string_view text) {
    const std::optional<T> value = parse_whole<T>(text);
    if (!value || *value < low || *value > high) return false;
    to = *value;
    return true;
  };
  return {.metavar = "N", .expected = expected_whole(low, high), .parse = parse, .present = fmt::format("{}", to)};
}

// Whole numbers in [low, high], separated by commas.
template <typename T>
FlagValue numbers(std::vector<T>& to, std::type_identity_t<T> low, std::type_identity_t<T> high) {
  const auto parse = [&to, low, high](std::string_view text) {
    while (true) {
      const size_t comma = std::min(text.find(','), text.size());
      const std::optional<T> value = parse_whole<T>(text.substr(0, comma));
      if (!value || *value < low || *value > high) return false;
      to.push_back(*value);
      if (comma == text.size()) return true;
      text.remove_prefix(comma + 1);
    }
  };
  std::string present;
  for (const T value : to) present += fmt::format("{}{}", present.empty() ? "" : ",", value);
  return {.metavar = "N,...",
          .expected = fmt::format("whole numbers from {} to {} with commas between", low, high),
          .parse = parse,
          .clear = [&to] { to.clear(); },
          .present = present};
}

}  // namespace quire
