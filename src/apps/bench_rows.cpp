#include "apps/bench_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/error.h"

namespace quire {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr std::array kKeys = {"bench", "test", "model", "isa", "threads"};

json::array read_rows(const std::string& path) {
  const json::value value = read_json_file(path, kMaxFileBytes);
  const json::array* rows = value.if_array();
  const auto is_row = [](const json::value& row) {
    const json::object* object = row.if_object();
    return object != nullptr && object->contains("bench") && object->contains("test") && object->contains("value");
  };
  if (rows == nullptr || !std::all_of(rows->begin(), rows->end(), is_row)) {
    fail(ErrorCode::kCorrupt,
         "{} is no list of measurements; give what 'quire bench roof', 'kernel' or 'offline' "
         "printed with --json",
         path);
  }
  return *rows;
}

std::string key_of(const json::object& row, const std::vector<std::string>& across) {
  std::string key;
  for (const char* name : kKeys) {
    const json::value* value = row.if_contains(name);
    if (value != nullptr && std::find(across.begin(), across.end(), name) == across.end()) {
      key += json::serialize(*value);
    }
    key += '\n';
  }
  return key;
}

std::string label_of(const json::object& row, bool with_model) {
  std::string label = with_model && row.contains("model") ? get_string(row, "model") + ", " : "";
  return label + get_string(row, "test");
}

}  // namespace

json::object bench_row(std::string_view bench, const std::string& test, double value, std::string_view unit) {
  return {{"bench", bench}, {"test", test}, {"value", value}, {"unit", unit}};
}

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::string compare_rows(const std::string& path_a, const std::string& path_b, const std::vector<std::string>& across) {
  const json::array rows_a = read_rows(path_a);
  const json::array rows_b = read_rows(path_b);
  std::map<std::string, const json::object*> by_key;
  for (const json::value& row : rows_b) by_key.emplace(key_of(row.as_object(), across), &row.as_object());
  const bool with_model = std::find(across.begin(), across.end(), "model") == across.end();
  std::string out =
      fmt::format("A: {}\nB: {}\n\n{:<52}{:>12}{:>12}{:>9}  unit\n", path_a, path_b, "", "A", "B", "B / A");
  double sum_of_logs = 0;
  int num_ratios = 0;
  for (const json::value& value : rows_a) {
    const json::object& a = value.as_object();
    const auto found = by_key.find(key_of(a, across));
    if (found == by_key.end()) continue;
    const double value_a = get_double(a, "value");
    const double value_b = get_double(*found->second, "value");
    const double ratio = value_a > 0 && value_b > 0 ? value_b / value_a : 0;
    out += fmt::format("{:<52}{:>12.2f}{:>12.2f}{:>9}  {}\n", label_of(a, with_model), value_a, value_b,
                       ratio > 0 ? fmt::format("{:.3f}", ratio) : "-", find_string(a, "unit", ""));
    if (ratio <= 0) continue;
    sum_of_logs += std::log(ratio);
    ++num_ratios;
  }
  if (num_ratios == 0) {
    fail(ErrorCode::kInvalidArgument,
         "{} and {} have no measurement in common; --across model, isa or threads compares those that differ in it",
         path_a, path_b);
  }
  if (num_ratios > 1) out += fmt::format("{:<76}{:>9.3f}\n", "geometric mean", std::exp(sum_of_logs / num_ratios));
  return out;
}

}  // namespace quire
