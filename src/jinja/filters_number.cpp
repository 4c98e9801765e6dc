// Filters that make a number, and `default`.
#include <charconv>
#include <cmath>
#include <limits>

#include "jinja/filter_tables.h"
#include "jinja/format.h"
#include "jinja/operators.h"
#include "jinja/runtime.h"
#include "jinja/unicode.h"

namespace quire::jinja {
namespace {

Value absolute(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "abs", args, {});
  if (value.is_float()) return Value(std::fabs(value.floating()));
  if (!value.is_integral()) runtime.fail("TypeError: bad operand type for abs(): '{}'", type_name(value));
  return value.integer() < 0 ? negate(runtime, value, true) : Value(value.integer());
}

// Removes single underscores between digits; nullopt when they stand elsewhere.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](size_t at) {
      return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at]));
    };
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || !digit(i - 1) || !digit(i + 1)) {
      return std::nullopt;
    }
  }
  return out;
}

// Python's int(text, base).
std::optional<Int> parse_int(Runtime& runtime, std::string_view source, Int base) {
  const std::string_view stripped = strip_space(source, true, true);
  const bool negative = stripped.starts_with('-');
  std::string_view body = stripped.substr(negative || stripped.starts_with('+') ? 1 : 0);
  if (base < 0 || base == 1 || base > 36) return std::nullopt;
  if (body.size() > 2 && body[0] == '0') {
    const char marker = static_cast<char>(body[1] | 0x20);
    const Int marked = marker == 'x' ? 16 : (marker == 'o' ? 8 : (marker == 'b' ? 2 : 0));
    if (marked != 0 && (base == 0 || base == marked)) {
      body.remove_prefix(body[2] == '_' ? 3 : 2);
      base = marked;
    }
  }
  const auto digits = without_underscores(body);
  if (!digits || digits->empty()) return std::nullopt;
  if (base == 0) {
    if ((*digits)[0] == '0' && digits->find_first_not_of('0') != std::string::npos) return std::nullopt;
    base = 10;
  }
  Int number = 0;
  for (const char c : *digits) {
    const int lower = std::tolower(static_cast<unsigned char>(c));
    const int digit =
        lower >= '0' && lower <= '9' ? lower - '0' : (lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99);
    if (digit >= static_cast<int>(base)) return std::nullopt;
    if (__builtin_mul_overflow(number, base, &number) || __builtin_add_overflow(number, Int{digit}, &number)) {
      runtime.raise(ErrorCode::kLimit, "an integer of the template needs more than 128 bits");
    }
  }
  return negative ? -number : number;
}

// Python's float(text).
std::optional<double> parse_float(std::string_view source) {
  const auto cleaned = without_underscores(strip_space(source, true, true));
  if (!cleaned || cleaned->empty()) return std::nullopt;
  std::string_view text = *cleaned;
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const std::string lower = to_lower(text);
  double number = 0;
  if (lower == "inf" || lower == "infinity") {
    number = std::numeric_limits<double>::infinity();
  } else if (lower == "nan") {
    number = std::numeric_limits<double>::quiet_NaN();
  } else {
    if (text.empty() || !(std::isdigit(static_cast<unsigned char>(text[0])) || text[0] == '.')) return std::nullopt;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
    if (result.ptr != text.data() + text.size() || result.ec == std::errc::invalid_argument) return std::nullopt;
    if (result.ec == std::errc::result_out_of_range) {
      const size_t exponent = lower.find("e-");
      number = exponent != std::string::npos ? 0.0 : std::numeric_limits<double>::infinity();
    }
  }
  return negative ? -number : number;
}

std::optional<Int> truncated(Runtime& runtime, double number) {
  if (!std::isfinite(number)) return std::nullopt;
  if (std::fabs(number) >= 0x1p126) {
    runtime.raise(ErrorCode::kLimit, "an integer of the template needs more than 128 bits");
  }
  return static_cast<Int>(number);
}

Value to_int(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "int", args, {"default", "base"});
  runtime.require_defined(value);
  std::optional<Int> number;
  if (value.is_string()) {
    const bool valid_base = !given.given(1) || given[1].is_integral();
    if (valid_base) number = parse_int(runtime, value.str(), given.integer(1, 10));
    if (!number) {
      const auto floating = parse_float(value.str());
      if (floating) number = truncated(runtime, *floating);
    }
  } else if (value.is_integral()) {
    number = value.integer();
  } else if (value.is_float()) {
    if (std::isinf(value.floating())) runtime.fail("OverflowError: cannot convert float infinity to integer");
    number = truncated(runtime, value.floating());
  }
  if (number) return Value(*number);
  return given.given(0) ? given[0] : Value(0);
}

Value to_float(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "float", args, {"default"});
  runtime.require_defined(value);
  if (value.is_number()) return Value(value.as_double());
  if (value.is_string()) {
    if (const auto number = parse_float(value.str())) return Value(*number);
  }
  return given.given(0) ? given[0] : Value(0.0);
}

Int power_of_ten(Int exponent) {
  Int power = 1;
  for (Int i = 0; i < exponent; ++i) power *= 10;
  return power;
}

Value round_integer(Int number, Int digits) {
  if (digits >= 0) return Value(number);
  if (digits < -37) return Value(0);
  const Int unit = power_of_ten(-digits);
  Int quotient = number / unit;
  const Int rest = number % unit;
  const Int twice = 2 * (rest < 0 ? -rest : rest);
  if (twice > unit || (twice == unit && quotient % 2 != 0)) quotient += number < 0 ? -1 : 1;
  return Value(quotient * unit);
}

// Python's round(number, digits): correctly rounded in decimal.
double round_double(double number, Int digits) {
  if (!std::isfinite(number) || digits > 320) return number;
  if (digits < -308) return std::copysign(0.0, number);
  char buffer[800];
  if (digits >= 0) {
    std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(digits), number);
    return std::strtod(buffer, nullptr);
  }
  const double unit = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(number / unit) * unit;
}

Value round(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "round", args, {"precision", "method"});
  const std::string_view method = given.text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") {
    runtime.fail("the method of round must be common, ceil or floor");
  }
  if (!value.is_number()) {
    runtime.require_defined(value);
    runtime.fail("TypeError: type {} doesn't define __round__ method", type_name(value));
  }
  if (method == "common") {
    if (given.given(0) && given[0].is_none()) {
      if (value.is_integral()) return Value(value.integer());
      const auto number = truncated(runtime, std::nearbyint(value.floating()));
      if (!number) runtime.fail("ValueError: cannot convert this float to an integer");
      return Value(*number);
    }
    const Int digits = given.integer(0, 0);
    return value.is_integral() ? round_integer(value.integer(), digits) : Value(round_double(value.floating(), digits));
  }
  const Value scale = binary(runtime, Op::kPow, Value(10), Value(given.integer(0, 0)));
  const Value scaled = binary(runtime, Op::kMul, value, scale);
  if (scaled.is_integral()) return binary(runtime, Op::kDiv, scaled, scale);
  const auto whole =
      truncated(runtime, method == "ceil" ? std::ceil(scaled.floating()) : std::floor(scaled.floating()));
  if (!whole) runtime.fail("ValueError: cannot convert this float to an integer");
  return binary(runtime, Op::kDiv, Value(*whole), scale);
}

Value filesizeformat(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "filesizeformat", args, {"binary"});
  runtime.require_defined(value);
  std::optional<double> number;
  if (value.is_number()) number = value.as_double();
  if (value.is_string()) number = parse_float(value.str());
  if (!number) runtime.fail("filesizeformat needs a number, got '{}'", type_name(value));
  const bool binary_units = given.flag(0, false);
  const double base = binary_units ? 1024 : 1000;
  const double bytes = *number;
  if (bytes == 1) return runtime.own("1 Byte");
  if (!std::isfinite(bytes)) runtime.fail("filesizeformat needs a finite number");
  if (bytes < base && std::fabs(bytes) >= 0x1p62) runtime.raise(ErrorCode::kLimit, "filesizeformat of a huge number");
  if (bytes < base) return runtime.own(fmt::format("{} Bytes", static_cast<int64_t>(bytes)));
  constexpr std::string_view kPrefixes = "kMGTPEZY";
  double unit = base;
  size_t i = 0;
  for (; i < kPrefixes.size(); ++i) {
    unit *= base;
    if (bytes < unit) break;
  }
  i = std::min(i, kPrefixes.size() - 1);
  const char prefix = binary_units && i == 0 ? 'K' : kPrefixes[i];
  return runtime.own(fmt::format("{:.1f} {}{}", base * bytes / unit, prefix, binary_units ? "iB" : "B"));
}

Value default_value(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "default", args, {"default_value", "boolean"});
  const bool replace = value.is_undefined() || (given.flag(1, false) && !truth(value));
  if (!replace) return value;
  return given.given(0) ? given[0] : runtime.own("");
}

constexpr Filter kFilters[] = {
    {"abs", absolute},   {"d", default_value}, {"default", default_value}, {"filesizeformat", filesizeformat},
    {"float", to_float}, {"int", to_int},      {"round", round},
};

}  // namespace

std::span<const Filter> number_filters() { return kFilters; }

}  // namespace quire::jinja
