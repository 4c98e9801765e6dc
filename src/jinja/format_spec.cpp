// The two formatting languages of Python's strings: "%5.2f" % value and "{:>5}".format(value).
#include <algorithm>
#include <cmath>

#include "jinja/attributes.h"
#include "jinja/format.h"
#include "jinja/operators.h"
#include "jinja/runtime.h"
#include "jinja/unicode.h"

namespace quire::jinja {
namespace {

constexpr size_t kMaxWidth = 100'000;  // of one formatted field
constexpr size_t kMaxPrecision = 400;  // digits after the point

struct Spec {
  std::string fill = " ";
  char align = 0;  // < > ^ =, 0: the type's own
  char sign = '-';
  bool alternate = false;
  char grouping = 0;
  size_t width = 0;
  std::optional<size_t> precision;
  char type = 0;
};

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

std::optional<size_t> read_number(Runtime& runtime, std::string_view text, size_t& at) {
  if (at >= text.size() || !is_ascii_digit(text[at])) return std::nullopt;
  size_t number = 0;
  for (; at < text.size() && is_ascii_digit(text[at]); ++at) {
    number = number * 10 + static_cast<size_t>(text[at] - '0');
    if (number > kMaxWidth) {
      runtime.raise(ErrorCode::kLimit, fmt::format("a formatted field is wider than {}", kMaxWidth));
    }
  }
  return number;
}

Spec parse_spec(Runtime& runtime, std::string_view text) {
  Spec spec;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  size_t at = 0;
  if (!text.empty()) {
    const size_t fill_bytes = decode_at(text, 0).num_bytes;
    if (text.size() > fill_bytes && is_align(text[fill_bytes])) {
      spec.fill = std::string(text.substr(0, fill_bytes));
      spec.align = text[fill_bytes];
      at = fill_bytes + 1;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      at = 1;
    }
  }
  if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' ')) spec.sign = text[at++];
  if (at < text.size() && text[at] == '#') spec.alternate = true, ++at;
  if (at < text.size() && text[at] == '0') {
    if (spec.align == 0) spec.fill = "0", spec.align = '=';
    ++at;
  }
  spec.width = read_number(runtime, text, at).value_or(0);
  if (at < text.size() && (text[at] == ',' || text[at] == '_')) spec.grouping = text[at++];
  if (at < text.size() && text[at] == '.') {
    ++at;
    spec.precision = read_number(runtime, text, at);
    if (!spec.precision) runtime.fail("ValueError: Format specifier missing precision");
  }
  if (at < text.size()) spec.type = text[at++];
  if (at != text.size()) runtime.fail("ValueError: Invalid format specifier '{}'", printable(text));
  return spec;
}

std::string group_digits(const std::string& digits, char separator, size_t every) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out;
}

// Pads `sign` + `body` to the width; '=' pads between the two.
std::string pad(const Spec& spec, const std::string& sign, const std::string& body, char default_align) {
  const size_t size = count_points(sign) + count_points(body);
  if (size >= spec.width) return sign + body;
  const size_t missing = spec.width - size;
  const auto fill = [&](size_t count) {
    std::string out;
    for (size_t i = 0; i < count; ++i) out += spec.fill;
    return out;
  };
  switch (spec.align == 0 ? default_align : spec.align) {
    case '<': return sign + body + fill(missing);
    case '^': return fill(missing / 2) + sign + body + fill(missing - missing / 2);
    case '=': return sign + fill(missing) + body;
    default: return fill(missing) + sign + body;
  }
}

std::string digits_of(Int magnitude, unsigned base, bool upper) {
  std::string out;
  auto rest = static_cast<unsigned __int128>(magnitude < 0 ? -(magnitude + 1) : magnitude);
  if (magnitude < 0) ++rest;
  do {
    const auto digit = static_cast<unsigned>(rest % base);
    out += static_cast<char>(digit < 10 ? '0' + digit : (upper ? 'A' : 'a') + digit - 10);
    rest /= base;
  } while (rest != 0);
  std::reverse(out.begin(), out.end());
  return out;
}

std::string sign_text(bool negative, char sign) {
  if (negative) return "-";
  return sign == '-' ? "" : std::string(1, sign);
}

std::string format_integer(Runtime& runtime, Int value, const Spec& spec) {
  unsigned base = 10;
  std::string prefix;
  switch (spec.type) {
    case 'b': base = 2, prefix = "0b"; break;
    case 'o': base = 8, prefix = "0o"; break;
    case 'x': base = 16, prefix = "0x"; break;
    case 'X': base = 16, prefix = "0X"; break;
    case 'c': {
      if (value < 0 || value > 0x10FFFF) runtime.fail("OverflowError: %c arg not in range(0x110000)");
      std::string out;
      append_utf8(out, static_cast<char32_t>(value));
      return pad(spec, "", out, '<');
    }
    default: break;
  }
  std::string digits = digits_of(value, base, spec.type == 'X');
  if (spec.grouping != 0) digits = group_digits(digits, spec.grouping, base == 10 ? 3 : 4);
  if (!spec.alternate) prefix.clear();
  return pad(spec, sign_text(value < 0, spec.sign) + prefix, digits, '>');
}

std::string print_double(Runtime& runtime, const char* format, size_t precision, double value) {
  if (precision > kMaxPrecision) {
    runtime.raise(ErrorCode::kLimit, fmt::format("a number is formatted with more than {} digits", kMaxPrecision));
  }
  char buffer[kMaxPrecision + 400];
  const int size = std::snprintf(buffer, sizeof(buffer), format, static_cast<int>(precision), value);
  return std::string(buffer, static_cast<size_t>(size));
}

std::string format_double(Runtime& runtime, double value, const Spec& spec) {
  const bool negative = std::signbit(value) && !std::isnan(value);
  const double magnitude = std::fabs(value);
  const bool upper = spec.type == 'F' || spec.type == 'E' || spec.type == 'G';
  std::string body;
  if (!std::isfinite(value)) {
    body = std::isnan(value) ? "nan" : "inf";
    if (upper) body = to_upper(body);
  } else {
    switch (spec.type) {
      case 'f':
      case 'F':
        body = print_double(runtime, spec.alternate ? "%#.*f" : "%.*f", spec.precision.value_or(6), magnitude);
        break;
      case 'e':
        body = print_double(runtime, spec.alternate ? "%#.*e" : "%.*e", spec.precision.value_or(6), magnitude);
        break;
      case 'E':
        body = print_double(runtime, spec.alternate ? "%#.*E" : "%.*E", spec.precision.value_or(6), magnitude);
        break;
      case 'g':
        body = print_double(runtime, spec.alternate ? "%#.*g" : "%.*g", spec.precision.value_or(6), magnitude);
        break;
      case 'G':
        body = print_double(runtime, spec.alternate ? "%#.*G" : "%.*G", spec.precision.value_or(6), magnitude);
        break;
      case '%': body = print_double(runtime, "%.*f", spec.precision.value_or(6), magnitude * 100) + "%"; break;
      default:
        if (!spec.precision) {
          body = float_text(magnitude);
        } else {
          body = print_double(runtime, "%.*g", std::max<size_t>(*spec.precision, 1), magnitude);
          if (body.find_first_of(".e") == std::string::npos) body += ".0";
        }
    }
  }
  if (spec.grouping != 0) {
    const size_t whole = std::min(body.find_first_not_of("0123456789"), body.size());
    body = group_digits(body.substr(0, whole), spec.grouping, 3) + body.substr(whole);
  }
  return pad(spec, sign_text(negative, spec.sign), body, '>');
}

// Whether a formatted value counts as data: a character made of a number does too.
bool is_data(const Value& value, const Spec& spec) {
  return spec.type == 'c' || (value.is_string() && !value.text().data.empty());
}

std::string_view first_points(std::string_view text, std::optional<size_t> count) {
  return count ? text.substr(0, point_offset(text, *count)) : text;
}

// A number, or a string that the directive cuts or pads.
std::string format_by(Runtime& runtime, const Value& value, const Spec& spec) {
  constexpr std::string_view kFloatTypes = "eEfFgG%";
  constexpr std::string_view kIntTypes = "bcdoxXn";
  const bool float_type = spec.type != 0 && kFloatTypes.find(spec.type) != std::string_view::npos;
  const bool int_type = spec.type != 0 && kIntTypes.find(spec.type) != std::string_view::npos;
  if (value.is_string() && (spec.type == 0 || spec.type == 's')) {
    if (spec.align == '=') runtime.fail("ValueError: '=' alignment not allowed in string format specifier");
    return pad(spec, "", std::string(first_points(value.str(), spec.precision)), '<');
  }
  if (value.is_bool() && spec.type == 0) {  // object.__format__ of a bool is an int's
    return format_integer(runtime, value.integer(), spec);
  }
  if (value.is_integral() && (spec.type == 0 || int_type)) {
    if (spec.precision) runtime.fail("ValueError: Precision not allowed in integer format specifier");
    return format_integer(runtime, value.integer(), spec);
  }
  if (value.is_number() && (float_type || (value.is_float() && spec.type == 0))) {
    return format_double(runtime, value.as_double(), spec);
  }
  if (value.is_string() || value.is_number()) {
    runtime.fail("ValueError: Unknown format code '{}' for object of type '{}'", printable(std::string(1, spec.type)),
                 type_name(value));
  }
  runtime.fail("TypeError: unsupported format string passed to {}.__format__", type_name(value));
}

MarkedText format_value(Runtime& runtime, const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) return to_text(runtime, value);
  const Spec spec = parse_spec(runtime, spec_text);
  MarkedText out{format_by(runtime, value, spec), {}};
  if (is_data(value, spec)) out.mark();
  return out;
}

// "%..." : the arguments one after the other, or by name from a mapping.
class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Text& format, const Value& values)
      : runtime_(runtime), source_(format), format_(format.view), values_(values), markup_(format.markup) {
    if (values.is_object(ObjectKind::kTuple)) count_ = values.items().size();
    mapping_ = values.as<Dict>();
  }

  MarkedText run() {
    while (at_ < format_.size()) {
      const size_t percent = std::min(format_.find('%', at_), format_.size());
      source_.append_to(out_, format_.substr(at_, percent - at_));
      at_ = percent;
      if (at_ < format_.size()) directive();
      runtime_.check_allocation(out_.num_bytes());
    }
    // Python allows unused arguments when the value can be subscripted by name.
    const bool subscriptable = mapping_ != nullptr || values_.is_undefined() || values_.is_object(ObjectKind::kList) ||
                               values_.is_object(ObjectKind::kRange);
    if (used_ < count_ && !subscriptable)
      runtime_.fail("TypeError: not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  Value next_value() {
    if (used_ >= count_) runtime_.fail("TypeError: not enough arguments for format string");
    const size_t i = used_++;
    return values_.is_object(ObjectKind::kTuple) ? values_.items()[i] : values_;
  }

  size_t star_or_number() {
    if (at_ < format_.size() && format_[at_] == '*') {
      ++at_;
      const Value width = next_value();
      if (!width.is_integral()) runtime_.fail("TypeError: * wants int");
      if (width.integer() < 0 || width.integer() > static_cast<Int>(kMaxWidth)) {
        runtime_.raise(ErrorCode::kLimit, fmt::format("a formatted field is wider than {}", kMaxWidth));
      }
      return static_cast<size_t>(width.integer());
    }
    return read_number(runtime_, format_, at_).value_or(0);
  }

  void directive() {
    const size_t first = at_++;
    std::optional<Value> named;
    if (at_ < format_.size() && format_[at_] == '(') {
      if (mapping_ == nullptr) runtime_.fail("TypeError: format requires a mapping");
      const size_t close = format_.find(')', at_);
      if (close == std::string_view::npos) runtime_.fail("ValueError: incomplete format key");
      const Value* found = mapping_->find(runtime_.own(std::string(format_.substr(at_ + 1, close - at_ - 1))));
      if (found == nullptr) runtime_.fail("KeyError: '{}'", printable(format_.substr(at_ + 1, close - at_ - 1)));
      named = *found;
      at_ = close + 1;
    }
    Spec spec;
    spec.align = '>';
    for (; at_ < format_.size(); ++at_) {
      const char c = format_[at_];
      if (c == '-') {
        spec.align = '<';
      } else if (c == '+' || (c == ' ' && spec.sign != '+')) {
        spec.sign = c;
      } else if (c == '#') {
        spec.alternate = true;
      } else if (c == '0') {
        spec.fill = "0";
      } else if (c != ' ') {
        break;
      }
    }
    spec.width = star_or_number();
    if (at_ < format_.size() && format_[at_] == '.') {
      ++at_;
      spec.precision = star_or_number();
    }
    while (at_ < format_.size() && (format_[at_] == 'l' || format_[at_] == 'h' || format_[at_] == 'L')) ++at_;
    if (at_ >= format_.size()) runtime_.fail("ValueError: incomplete format");
    spec.type = format_[at_++];
    const bool chosen_by_data = source_.has_data(format_.substr(first, at_ - first));
    if (spec.type == '%') {
      out_ += '%';
      if (chosen_by_data) out_.mark(out_.text.size() - 1);
      return;
    }
    const Value value = named ? *named : next_value();
    const size_t begin = out_.text.size();
    bool from_data = chosen_by_data || is_data(value, spec);
    out_ += convert(value, spec, from_data);
    if (from_data) out_.mark(begin);
  }

  // Sets `from_data` when a string inside of the value is data.
  std::string convert(const Value& value, Spec spec, bool& from_data) {
    const bool zero_fill = spec.fill == "0";
    if (spec.align == '<') spec.fill = " ";
    switch (spec.type) {
      case 's':
      case 'r':
      case 'a': {
        spec.fill = " ";
        const Value shown = markup_ ? escape(runtime_, value) : value;
        const MarkedText text = spec.type == 's' ? to_text(runtime_, shown) : to_repr(runtime_, value);
        from_data |= !text.data.empty();
        return pad(spec, "", std::string(first_points(text.text, spec.precision)), '>');
      }
      case 'c': {
        spec.fill = " ";
        if (value.is_string() && value.text().num_points == 1) return pad(spec, "", std::string(value.str()), '>');
        if (value.is_integral()) {
          spec.precision.reset();
          return format_integer(runtime_, value.integer(), spec);
        }
        runtime_.fail("TypeError: %c requires int or char");
      }
      case 'd':
      case 'i':
      case 'u': return integer(value, spec, zero_fill);
      case 'o':
      case 'x':
      case 'X':
        if (!value.is_integral()) {
          runtime_.fail("TypeError: %{} format: an integer is required, not {}", spec.type, type_name(value));
        }
        return integer(value, spec, zero_fill);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        if (!value.is_number()) {
          runtime_.require_defined(value);
          runtime_.fail("TypeError: must be real number, not {}", type_name(value));
        }
        if (zero_fill && spec.align == '>') spec.align = '=';
        return format_double(runtime_, value.as_double(), spec);
      default: runtime_.fail("ValueError: unsupported format character '{}'", printable(std::string(1, spec.type)));
    }
  }

  std::string integer(const Value& value, Spec spec, bool zero_fill) {
    if (!value.is_number()) {
      runtime_.require_defined(value);
      runtime_.fail("TypeError: %{} format: a real number is required, not {}", spec.type, type_name(value));
    }
    if (value.is_float() && !(std::fabs(value.floating()) < 0x1p126)) {
      runtime_.fail("OverflowError: cannot convert this float to an integer");
    }
    const Int number = value.is_float() ? static_cast<Int>(value.floating()) : value.integer();
    if (zero_fill && spec.align == '>') spec.align = '=';
    if (spec.type == 'i' || spec.type == 'u') spec.type = 'd';
    const unsigned base = spec.type == 'o' ? 8 : (spec.type == 'd' ? 10 : 16);
    std::string digits = digits_of(number, base, spec.type == 'X');
    if (spec.precision && digits.size() < *spec.precision) digits.insert(0, *spec.precision - digits.size(), '0');
    const std::string prefix = spec.alternate && base != 10 ? std::string("0") + spec.type : "";
    return pad(spec, sign_text(number < 0, spec.sign) + prefix, digits, '>');
  }

  Runtime& runtime_;
  const Text& source_;
  std::string_view format_;
  const Value& values_;
  const Dict* mapping_ = nullptr;
  const bool markup_;
  size_t count_ = 1;
  size_t used_ = 0;
  size_t at_ = 0;
  MarkedText out_;
};

// "{...}".format: fields name arguments by position or keyword, walk attributes and items, and nest one level.
class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Text& format, const Args& args)
      : runtime_(runtime), source_(format), args_(args) {}

  // `format` is the whole text or a specification in it.
  MarkedText run(std::string_view format, int depth) {
    if (depth < 0) runtime_.fail("ValueError: Max string recursion exceeded");
    MarkedText out;
    for (size_t at = 0; at < format.size();) {
      const char c = format[at];
      if (c != '{' && c != '}') {
        const size_t end = std::min(format.find_first_of("{}", at), format.size());
        source_.append_to(out, format.substr(at, end - at));
        at = end;
      } else if (at + 1 < format.size() && format[at + 1] == c) {
        source_.append_to(out, format.substr(at, 1));
        at += 2;
      } else if (c == '}') {
        runtime_.fail("ValueError: Single '}}' encountered in format string");
      } else {
        const size_t close = find_close(format, at);
        MarkedText shown = field(format.substr(at + 1, close - at - 1), depth);
        if (source_.has_data(format.substr(at, close + 1 - at))) shown.mark();
        out.append(shown);
        at = close + 1;
      }
      runtime_.check_allocation(out.num_bytes());
    }
    return out;
  }

 private:
  size_t find_close(std::string_view format, size_t open) {
    size_t nested = 0;
    for (size_t at = open; at < format.size(); ++at) {
      if (format[at] == '{') ++nested;
      if (format[at] == '}' && --nested == 0) return at;
    }
    runtime_.fail("ValueError: expected '}}' before end of string");
  }

  MarkedText field(std::string_view text, int depth) {
    runtime_.charge();
    size_t end = 0;  // of the field's name; brackets may hold anything
    for (bool in_brackets = false; end < text.size(); ++end) {
      if (text[end] == '[') in_brackets = true;
      if (text[end] == ']') in_brackets = false;
      if (!in_brackets && (text[end] == ':' || text[end] == '!')) break;
    }
    Value value = lookup(text.substr(0, end));
    std::string_view rest = text.substr(end);
    if (!rest.empty() && rest[0] == '!') {
      const char conversion = rest.size() > 1 ? rest[1] : ' ';
      if (rest.size() < 2 || (rest.size() > 2 && rest[2] != ':')) {
        runtime_.fail("ValueError: expected ':' after conversion specifier");
      }
      if (conversion == 's') {
        value = runtime_.string(to_text(runtime_, value));
      } else if (conversion == 'r' || conversion == 'a') {
        value = runtime_.string(to_repr(runtime_, value));
      } else {
        runtime_.fail("ValueError: Unknown conversion specifier '{}'", printable(std::string(1, conversion)));
      }
      rest.remove_prefix(2);
    }
    const MarkedText spec = rest.empty() ? MarkedText() : run(rest.substr(1), depth - 1);
    MarkedText shown = format_value(runtime_, value, spec.text);
    if (!spec.data.empty()) shown.mark();  // its fill may be a character of data
    if (!source_.markup || value.is_markup()) return shown;
    return to_text(runtime_, escape(runtime_, runtime_.string(std::move(shown))));
  }

  Value lookup(std::string_view name) {
    const size_t first_end = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, first_end));
    for (size_t at = first_end; at < name.size();) {
      if (name[at] == '.') {
        const size_t end = std::min(name.find_first_of(".[", at + 1), name.size());
        value = get_attribute(runtime_, value, name.substr(at + 1, end - at - 1));
        at = end;
      } else {
        const size_t close = name[at] == '[' ? name.find(']', at) : std::string_view::npos;
        if (close == std::string_view::npos) runtime_.fail("ValueError: Missing ']' in format string");
        const std::string_view key = name.substr(at + 1, close - at - 1);
        size_t used = 0;
        const auto index = read_number(runtime_, key, used);
        const bool numeric = index && used == key.size();
        value = get_item(runtime_, value, numeric ? Value(*index) : runtime_.own(std::string(key)));
        at = close + 1;
      }
    }
    return value;
  }

  Value argument(std::string_view name) {
    size_t used = 0;
    const auto index = read_number(runtime_, name, used);
    if (name.empty() || (index && used == name.size())) {
      if (name.empty() ? manual_ : automatic_ > 0) {
        runtime_.fail("ValueError: cannot switch between manual and automatic field numbering");
      }
      manual_ = manual_ || !name.empty();
      const size_t i = name.empty() ? automatic_++ : *index;
      if (i >= args_.positional.size()) {
        runtime_.fail("IndexError: Replacement index {} out of range for positional args tuple", i);
      }
      return args_.positional[i];
    }
    for (const auto& [key, value] : args_.named) {
      if (key == name) return value;
    }
    runtime_.fail("KeyError: '{}'", printable(name));
  }

  Runtime& runtime_;
  const Text& source_;
  const Args& args_;
  bool manual_ = false;
  size_t automatic_ = 0;
};

}  // namespace

Value format_percent(Runtime& runtime, const Value& format, const Value& values) {
  runtime.charge_bytes(format.str().size());
  PercentFormatter formatter(runtime, format.text(), values);
  return runtime.string(formatter.run(), format.is_markup());
}

Value format_braces(Runtime& runtime, const Value& format, const Args& args) {
  runtime.charge_bytes(format.str().size());
  BraceFormatter formatter(runtime, format.text(), args);
  return runtime.string(formatter.run(format.str(), 2), format.is_markup());
}

}  // namespace quire::jinja
