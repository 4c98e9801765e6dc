#include "apps/units.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace quire {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

// A capital K is 1,024 and a small k is 1,000, as vLLM reads them; every form with "iB" is binary, with "B" decimal.
constexpr Unit kUnits[] = {{"", 1},         {"B", 1},        {"k", 1e3},     {"K", 0x1p10}, {"kB", 1e3},
                           {"KB", 1e3},     {"KiB", 0x1p10}, {"m", 1e6},     {"M", 0x1p20}, {"MB", 1e6},
                           {"MiB", 0x1p20}, {"g", 1e9},      {"G", 0x1p30},  {"GB", 1e9},   {"GiB", 0x1p30},
                           {"T", 0x1p40},   {"TB", 1e12},    {"TiB", 0x1p40}};

}  // namespace

std::optional<uint64_t> parse_quantity(std::string_view text) {
  double number = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view suffix = error == std::errc() ? text.substr(static_cast<size_t>(end - text.data())) : text;
  for (const Unit& unit : kUnits) {
    if (error != std::errc() || suffix != unit.name) continue;
    const double value = std::round(number * unit.factor);
    if (value >= 0.0 && value < 0x1p62) return static_cast<uint64_t>(value);
  }
  return std::nullopt;
}

std::string format_bytes(uint64_t bytes) {
  constexpr const char* kNames[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024.0 && unit < 4) {
    value /= 1024.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.{}f} {}", value, value < 100 ? 2 : 1, kNames[unit]);
}

std::string format_count(uint64_t count) {
  std::string digits = std::to_string(count);
  for (auto i = static_cast<int64_t>(digits.size()) - 3; i > 0; i -= 3) digits.insert(static_cast<size_t>(i), ",");
  return digits;
}

std::string format_parameters(uint64_t count) {
  const auto value = static_cast<double>(count);
  if (value >= 1e9) return fmt::format("{:.2f} B", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.2f} M", value / 1e6);
  return fmt::format("{:.1f} K", value / 1e3);
}

}  // namespace quire
