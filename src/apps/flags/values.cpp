#include "apps/flags/values.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "apps/units.h"
#include "base/error.h"

namespace quire {
namespace {

std::optional<double> parse_real(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

// Calls `take` for each part between commas; false when it refuses one.
template <typename F>
bool for_each_part(std::string_view text, const F& take) {
  while (true) {
    const size_t comma = std::min(text.find(','), text.size());
    if (!take(text.substr(0, comma))) return false;
    if (comma == text.size()) return true;
    text.remove_prefix(comma + 1);
  }
}

// "bash, zsh or fish".
std::string one_of(const std::vector<std::string>& choices) {
  std::string list;
  for (size_t i = 0; i < choices.size(); ++i) {
    list += (i == 0 ? "" : i + 1 < choices.size() ? ", " : " or ") + choices[i];
  }
  return list;
}

}  // namespace

FlagValue on_off(bool& to) {
  const auto parse = [&to](std::string_view text) {
    const bool is_on = text == "true" || text == "on" || text == "yes" || text == "1";
    if (!is_on && text != "false" && text != "off" && text != "no" && text != "0") return false;
    to = is_on;
    return true;
  };
  return {.expected = "on or off", .parse = parse, .present = to ? "on" : "", .is_switch = true};
}

FlagValue instead(std::function<void()> action) { return {.instead = std::move(action), .is_switch = true}; }

FlagValue text(std::string& to, std::string metavar) {
  const auto parse = [&to](std::string_view text) {
    to = text;
    return true;
  };
  return {.metavar = std::move(metavar), .expected = "a text", .parse = parse, .present = to};
}

FlagValue text(std::optional<std::string>& to, std::string metavar) {
  const auto parse = [&to](std::string_view text) {
    to = text;
    return true;
  };
  return {.metavar = std::move(metavar), .expected = "a text", .parse = parse};
}

FlagValue texts_in_a_row(std::vector<std::string>& to, std::string metavar) {
  FlagValue value = texts(to, std::move(metavar));
  value.takes_row = true;
  return value;
}

FlagValue texts(std::vector<std::string>& to, std::string metavar, int count) {
  const auto parse = [&to](std::string_view text) {
    to.emplace_back(text);
    return true;
  };
  return {.metavar = std::move(metavar),
          .expected = "a text",
          .parse = parse,
          .clear = [&to] { to.clear(); },
          .present = fmt::format("{}", fmt::join(to, ", ")),
          .count = count};
}

FlagValue choice(std::string& to, std::vector<std::string> choices) {
  FlagValue value = text(to, fmt::format("{}", fmt::join(choices, "|")));
  value.expected = one_of(choices);
  value.parse = [&to, choices](std::string_view text) {
    to = text;
    return std::find(choices.begin(), choices.end(), text) != choices.end();
  };
  value.choices = std::move(choices);
  return value;
}

FlagValue words(std::vector<std::string>& to, std::vector<std::string> choices) {
  const auto parse = [&to, choices](std::string_view text) {
    return for_each_part(text, [&](std::string_view part) {
      const std::string& word = to.emplace_back(part);
      return choices.empty() || std::find(choices.begin(), choices.end(), word) != choices.end();
    });
  };
  return {
      .metavar = "NAME,...",
      .expected = choices.empty() ? "names with commas between" : fmt::format("some of {}", fmt::join(choices, ", ")),
      .parse = parse,
      .clear = [&to] { to.clear(); },
      .present = fmt::format("{}", fmt::join(to, ",")),
      .choices = choices};
}

FlagValue gibibytes(std::optional<uint64_t>& to, uint64_t least) {
  const auto parse = [&to, least](std::string_view text) {
    constexpr uint64_t kMost = uint64_t{1} << 50;  // a larger number was meant as bytes
    const bool has_unit = text.empty() || std::isdigit(static_cast<unsigned char>(text.back())) == 0;
    to = parse_quantity(has_unit ? std::string(text) : std::string(text) + "GiB");
    return to && *to >= least && *to <= kMost;
  };
  return {.metavar = "SIZE", .expected = "a size such as 8GiB, 500MB or 4, which is 4GiB", .parse = parse};
}

FlagValue quantity(std::optional<uint64_t>& to, std::string metavar, uint64_t low) {
  const auto parse = [&to, low](std::string_view text) {
    to = parse_quantity(text);
    return to && *to >= low;
  };
  return {.metavar = std::move(metavar),
          .expected = fmt::format("a number of at least {}, such as 4096, 32K or 25.6k", low),
          .parse = parse};
}

FlagValue real(double& to, double low, double high) {
  const auto parse = [&to, low, high](std::string_view text) {
    const std::optional<double> value = parse_real(text);
    if (!value || *value < low || *value > high) return false;
    to = *value;
    return true;
  };
  const bool is_bounded = high < std::numeric_limits<double>::max();
  return {.metavar = "X",
          .expected = is_bounded ? fmt::format("a number from {} to {}", low, high) : "a number",
          .parse = parse,
          .present = fmt::format("{}", to)};
}

FlagValue real(float& to, float low, float high) {
  const auto parse = [&to, low, high](std::string_view text) {
    const std::optional<double> value = parse_real(text);
    if (value) to = static_cast<float>(*value);
    return value && to >= low && to <= high;
  };
  const bool is_bounded = high < std::numeric_limits<float>::max();
  return {.metavar = "X",
          .expected = is_bounded ? fmt::format("a number from {} to {}", low, high) : "a number",
          .parse = parse,
          .present = fmt::format("{}", to)};
}

FlagValue positives(std::vector<double>& to) {
  const auto parse = [&to](std::string_view text) {
    return for_each_part(text, [&](std::string_view part) {
      const std::optional<double> value = parse_real(part);
      if (value) to.push_back(*value);
      return value && *value > 0 && *value <= 1e6;
    });
  };
  return {.metavar = "X,...",
          .expected = "numbers above 0 and up to 1000000 with commas between, such as 0.5,1,2",
          .parse = parse,
          .clear = [&to] { to.clear(); },
          .present = fmt::format("{}", fmt::join(to, ","))};
}

FlagValue reals(std::vector<double>& to, int count) {
  const auto parse = [&to](std::string_view text) {
    const std::optional<double> value = parse_real(text);
    if (value) to.push_back(*value);
    return value.has_value();
  };
  return {.metavar = "X ...", .expected = "a number", .parse = parse, .clear = [&to] { to.clear(); }, .count = count};
}

}  // namespace quire
