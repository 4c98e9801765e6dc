#include "jinja/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "jinja/operators.h"
#include "jinja/runtime.h"
#include "jinja/unicode.h"

namespace quire::jinja {
namespace {

void append_string_repr(std::string& out, std::string_view text) {
  const bool double_quotes = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = double_quotes ? '"' : '\'';
  out += quote;
  for (size_t at = 0; at < text.size();) {
    const auto [point, num_bytes] = decode_at(text, at);
    if (point == static_cast<char32_t>(quote) || point == '\\') {
      out += '\\';
      out += static_cast<char>(point);
    } else if (point == '\n') {
      out += "\\n";
    } else if (point == '\r') {
      out += "\\r";
    } else if (point == '\t') {
      out += "\\t";
    } else if (is_printable(point)) {
      out.append(text.substr(at, num_bytes));
    } else if (point < 0x100) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<uint32_t>(point));
    } else if (point < 0x10000) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<uint32_t>(point));
    } else {
      fmt::format_to(std::back_inserter(out), "\\U{:08x}", static_cast<uint32_t>(point));
    }
    at += num_bytes;
  }
  out += quote;
}

class ReprWriter {
 public:
  explicit ReprWriter(Runtime& runtime) : runtime_(runtime) {}

  void write(const Value& value) {
    runtime_.charge();
    const size_t before = out_.text.size();
    write_any(value);
    if (value.is_string()) runtime_.charge_bytes(out_.text.size() - before);
    runtime_.check_allocation(out_.num_bytes());
  }
  MarkedText take() { return std::move(out_); }

 private:
  void write_any(const Value& value) {
    if (value.is_undefined()) {
      out_ += "Undefined";
    } else if (value.is_none()) {
      out_ += "None";
    } else if (value.is_bool()) {
      out_ += value.boolean() ? "True" : "False";
    } else if (value.is_int()) {
      out_ += int_text(value.integer());
    } else if (value.is_float()) {
      out_ += float_text(value.floating());
    } else if (value.is_string()) {
      if (value.is_markup()) out_ += "Markup(";
      const size_t begin = out_.text.size();
      append_string_repr(out_.text, value.str());
      if (!value.text().data.empty()) out_.mark(begin);
      if (value.is_markup()) out_ += ')';
    } else {
      const Runtime::Level level(runtime_);
      write_object(value);
    }
  }

  void write_object(const Value& value) {
    switch (value.object()->kind) {
      case ObjectKind::kList: write_items('[', value.items(), "]"); break;
      case ObjectKind::kTuple: write_items('(', value.items(), value.items().size() == 1 ? ",)" : ")"); break;
      case ObjectKind::kDict: write_dict(*value.as<Dict>()); break;
      case ObjectKind::kDictView: {
        (out_ += type_name(value)) += '(';
        write_items('[', to_vector(runtime_, value), "])");
        break;
      }
      case ObjectKind::kRange: {
        const auto* range = value.as<Range>();
        out_ += "range(" + int_text(range->start) + ", " + int_text(range->stop);
        if (range->step != 1) out_ += ", " + int_text(range->step);
        out_ += ')';
        break;
      }
      case ObjectKind::kNamespace:
        out_ += "<Namespace ";
        write_dict(value.as<Namespace>()->attributes);
        out_ += '>';
        break;
      case ObjectKind::kCallable: out_ += value.as<Callable>()->description(); break;
      default: out_ += fmt::format("<{} object>", type_name(value));
    }
  }

  void write_items(char open, const std::vector<Value>& items, const char* close) {
    out_ += open;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += ", ";
      write(items[i]);
    }
    out_ += close;
  }

  void write_dict(const Dict& dict) {
    out_ += '{';
    for (size_t i = 0; i < dict.entries.size(); ++i) {
      if (i > 0) out_ += ", ";
      write(dict.entries[i].first);
      out_ += ": ";
      write(dict.entries[i].second);
    }
    out_ += '}';
  }

  Runtime& runtime_;
  MarkedText out_;
};

void append_json_string(std::string& out, std::string_view text, bool ensure_ascii) {
  out += '"';
  for (size_t at = 0; at < text.size();) {
    const auto [point, num_bytes] = decode_at(text, at);
    switch (point) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (point < 0x20 || (ensure_ascii && point > 0x7F && point < 0x10000)) {
          fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<uint32_t>(point));
        } else if (ensure_ascii && point >= 0x10000) {
          const uint32_t offset = static_cast<uint32_t>(point) - 0x10000;
          fmt::format_to(std::back_inserter(out), "\\u{:04x}\\u{:04x}", 0xD800 + (offset >> 10),
                         0xDC00 + (offset & 0x3FF));
        } else {
          out.append(text.substr(at, num_bytes));
        }
    }
    at += num_bytes;
  }
  out += '"';
}

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

  void write(const Value& value) {
    runtime_.charge();
    if (value.is_string()) {
      runtime_.charge_bytes(value.str().size());
      write_string(value.text());
    } else if (value.is_sequence()) {
      write_array(value.items());
    } else if (const auto* dict = value.as<Dict>()) {
      write_object(*dict);
    } else {
      out_ += scalar(value);
    }
    runtime_.check_allocation(out_.num_bytes());
  }
  MarkedText take() { return std::move(out_); }

 private:
  void write_string(const Text& text) {
    const size_t begin = out_.text.size();
    append_json_string(out_.text, text.view, style_.ensure_ascii);
    if (!text.data.empty()) out_.mark(begin);
  }

  std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (value.is_bool()) return value.boolean() ? "true" : "false";
    if (value.is_int()) return int_text(value.integer());
    if (!value.is_float()) runtime_.fail("TypeError: Object of type {} is not JSON serializable", type_name(value));
    if (std::isnan(value.floating())) return "NaN";
    if (std::isinf(value.floating())) return value.floating() > 0 ? "Infinity" : "-Infinity";
    return float_text(value.floating());
  }

  void write_key(const Value& key) {
    if (key.is_string()) return write_string(key.text());
    if (key.is_none() || key.is_number()) return append_json_string(out_.text, scalar(key), style_.ensure_ascii);
    runtime_.fail("TypeError: keys must be str, int, float, bool or None, not {}", type_name(key));
  }

  void new_line() {
    if (!style_.pretty) return;
    out_ += '\n';
    for (size_t i = 0; i < depth_; ++i) out_ += style_.indent;
    runtime_.charge_bytes(depth_ * style_.indent.size());
  }

  void write_array(const std::vector<Value>& items) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    const Runtime::Level level(runtime_);
    out_ += '[';
    ++depth_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line();
      write(items[i]);
    }
    --depth_;
    new_line();
    out_ += ']';
  }

  void write_object(const Dict& dict) {
    if (dict.entries.empty()) {
      out_ += "{}";
      return;
    }
    const Runtime::Level level(runtime_);
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto* a, const auto* b) { return less(runtime_, a->first, b->first); });
    }
    out_ += '{';
    ++depth_;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line();
      write_key(entries[i]->first);
      out_ += style_.key_separator;
      write(entries[i]->second);
    }
    --depth_;
    new_line();
    out_ += '}';
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  MarkedText out_;
  size_t depth_ = 0;
};

}  // namespace

std::string int_text(Int value) { return fmt::format("{}", value); }

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  const std::string_view scientific(buffer, static_cast<size_t>(end - buffer));
  const size_t e = scientific.find('e');
  const int exponent = std::stoi(std::string(scientific.substr(e + 1)));
  std::string digits;
  for (const char c : scientific.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  const std::string sign = value < 0 || (value == 0 && std::signbit(value)) ? "-" : "";
  const int num_digits = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    const std::string fraction = num_digits > 1 ? "." + digits.substr(1) : "";
    return fmt::format("{}{}{}e{}{:02d}", sign, digits[0], fraction, exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (num_digits <= exponent + 1) {
    return sign + digits + std::string(static_cast<size_t>(exponent + 1 - num_digits), '0') + ".0";
  }
  const auto whole = static_cast<size_t>(exponent + 1);
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

MarkedText to_text(Runtime& runtime, const Value& value) {
  MarkedText text;
  if (value.is_string()) {
    runtime.charge_bytes(value.str().size());
    value.text().append_to(text);
    return text;
  }
  return value.is_undefined() ? text : to_repr(runtime, value);
}

Value soft_text(Runtime& runtime, const Value& value) {
  return value.is_string() ? value : runtime.string(to_text(runtime, value));
}

MarkedText to_repr(Runtime& runtime, const Value& value) {
  ReprWriter writer(runtime);
  writer.write(value);
  return writer.take();
}

MarkedText to_json(Runtime& runtime, const Value& value, const JsonStyle& style) {
  JsonWriter writer(runtime, style);
  writer.write(value);
  return writer.take();
}

}  // namespace quire::jinja
