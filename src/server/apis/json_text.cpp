#include "server/apis/json_text.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

namespace quire {
namespace {

constexpr double kFarBelow = -9999.0;

template <typename T>
void append_real(std::string& out, T number) {
  if (!std::isfinite(number)) number = std::isnan(number) ? T{0} : static_cast<T>(number > 0 ? -kFarBelow : kFarBelow);
  fmt::format_to(std::back_inserter(out), "{}", number);
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  size_t done = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, done, i - done);
    done = i + 1;
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default: fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c)); break;
    }
  }
  out.append(text, done);
  out += '"';
}

void append_json_number(std::string& out, float number) { append_real(out, number); }
void append_json_number(std::string& out, double number) { append_real(out, number); }
void append_json_number(std::string& out, int64_t number) { fmt::format_to(std::back_inserter(out), "{}", number); }

void append_json_numbers(std::string& out, std::span<const float> numbers) {
  out += '[';
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) out += ',';
    append_json_number(out, numbers[i]);
  }
  out += ']';
}

}  // namespace quire
