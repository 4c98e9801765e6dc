// Reads traces of real traffic.

#include <charconv>
#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "measure/workload.h"

namespace quire::load {
namespace {

constexpr size_t kMaxTraceBytes = size_t{256} << 20;

bool take_number(std::string_view& text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

// Days since 1970-01-01 in the Gregorian calendar; years counted from March, so that leap days come last.
int64_t days_from_civil(int64_t year, int64_t month, int64_t day) {
  year -= month <= 2 ? 1 : 0;
  const int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
}

// "2023-11-16 18:17:03.9799600" in milliseconds.
bool take_timestamp(std::string_view& text, double& at_ms) {
  int64_t year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  const bool is_time = take_number(text, year) && take(text, '-') && take_number(text, month) && take(text, '-') &&
                       take_number(text, day) && (take(text, ' ') || take(text, 'T')) && take_number(text, hour) &&
                       take(text, ':') && take_number(text, minute) && take(text, ':') && take_number(text, second);
  if (!is_time || year < 1970 || year > 9999 || month < 1 || month > 12) return false;
  double fraction = 0.0;
  if (take(text, '.')) {
    double unit = 0.1;
    for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1), unit /= 10) {
      fraction += unit * (text.front() - '0');
    }
  }
  const int64_t seconds = ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
  at_ms = 1000.0 * (static_cast<double>(seconds) + fraction);
  return true;
}

std::vector<TraceRow> read_csv(const std::string& path, size_t limit) {
  std::ifstream file(path);
  if (!file) fail(ErrorCode::kNotFound, "the trace '{}' cannot be read", printable(path));
  std::string line;
  std::getline(file, line);
  if (!line.starts_with("TIMESTAMP,ContextTokens,GeneratedTokens")) {
    fail(ErrorCode::kCorrupt, "{}: the first line is '{}'; expected 'TIMESTAMP,ContextTokens,GeneratedTokens'", path,
         printable(line, 60));
  }
  std::vector<TraceRow> rows;
  double first_ms = 0.0;
  double last_ms = 0.0;
  for (int64_t number = 2; rows.size() < limit && std::getline(file, line); ++number) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    std::string_view rest = line;
    TraceRow row;
    const bool is_row = take_timestamp(rest, row.at_ms) && take(rest, ',') && take_number(rest, row.input_tokens) &&
                        take(rest, ',') && take_number(rest, row.output_tokens) && rest.empty();
    if (!is_row || row.input_tokens < 0 || row.output_tokens < 0 || (!rows.empty() && row.at_ms < last_ms)) {
      fail(ErrorCode::kCorrupt, "{} line {}: found '{}'; expected a time not before the last line's and two counts",
           path, number, printable(line, 60));
    }
    if (rows.empty()) first_ms = row.at_ms;
    last_ms = row.at_ms;
    row.at_ms -= first_ms;
    rows.push_back(row);
  }
  return rows;
}

std::vector<TraceRow> read_pairs(const std::string& path, size_t limit) {
  const json::value pairs = read_json_file(path, kMaxTraceBytes);
  if (!pairs.is_array()) fail(ErrorCode::kCorrupt, "{}: expected an array of [input, output] pairs", path);
  std::vector<TraceRow> rows;
  for (const json::value& pair : pairs.get_array()) {
    if (rows.size() == limit) break;
    const json::array* numbers = pair.if_array();
    if (numbers == nullptr || numbers->size() != 2 || !(*numbers)[0].is_int64() || !(*numbers)[1].is_int64()) {
      fail(ErrorCode::kCorrupt, "{}: row {} is no pair of whole numbers [input, output]", path, rows.size() + 1);
    }
    rows.push_back({.input_tokens = (*numbers)[0].get_int64(), .output_tokens = (*numbers)[1].get_int64()});
  }
  return rows;
}

}  // namespace

std::vector<TraceRow> read_trace(const std::string& path, size_t limit) {
  std::vector<TraceRow> rows = path.ends_with(".json") ? read_pairs(path, limit) : read_csv(path, limit);
  if (rows.empty()) fail(ErrorCode::kCorrupt, "{}: the trace has no rows", path);
  return rows;
}

}  // namespace quire::load
