// Filters that make text of one value.
#include <algorithm>

#include "jinja/attribute_path.h"
#include "jinja/filter_tables.h"
#include "jinja/format.h"
#include "jinja/operators.h"
#include "jinja/runtime.h"
#include "jinja/string_methods.h"
#include "jinja/unicode.h"

namespace quire::jinja {
namespace {

template <std::string (*Map)(std::string_view)>
Value mapped(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "filter", args, {});
  const Value text = soft_text(runtime, value);
  return runtime.rewritten(text, Map(text.str()));
}

Value title(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "title", args, {});
  const Value text = soft_text(runtime, value);
  MarkedText out;
  size_t word_start = 0;
  const auto flush = [&](size_t end) {
    if (end == word_start) return;
    const size_t first = decode_at(text.str(), word_start).num_bytes;
    out += to_upper(text.str().substr(word_start, first));
    out += to_lower(text.str().substr(word_start + first, end - word_start - first));
  };
  for (size_t at = 0; at < text.str().size();) {
    const auto [point, num_bytes] = decode_at(text.str(), at);
    if (is_space(point) || std::string_view("-({[<").find(static_cast<char>(point)) != std::string_view::npos) {
      if (point < 0x80 || is_space(point)) {
        flush(at);
        out += text.str().substr(at, num_bytes);
        word_start = at + num_bytes;
      }
    }
    at += num_bytes;
  }
  flush(text.str().size());
  if (!text.text().data.empty()) out.mark();
  return runtime.string(std::move(out));
}

Value trim(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "trim", args, {"chars"});
  const Value text = soft_text(runtime, value);
  const std::string_view chars = given.given_not_none(0) ? given.text(0, "") : "";
  runtime.charge(chars.size() / 64);
  return runtime.part(text, strip_chars(text.str(), given.given_not_none(0) ? &chars : nullptr, true, true));
}

Value replace(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "replace", args, {"old", "new", "count"}, 2);
  const Int count = given.given_not_none(2) ? given.integer(2, -1) : -1;
  const Value old_text = soft_text(runtime, given[0]);
  return runtime.string(
      replace_text(runtime, soft_text(runtime, value), old_text.str(), soft_text(runtime, given[1]), count));
}

Value indent(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "indent", args, {"width", "first", "blank"});
  if (!value.is_string()) {
    runtime.require_defined(value);
    runtime.fail("TypeError: indent needs a string, got '{}'", type_name(value));
  }
  const bool by_text = given.given(0) && given[0].is_string();
  const auto width = static_cast<size_t>(by_text ? 0 : std::max<Int>(given.integer(0, 4), 0));
  runtime.check_allocation(width);
  const Value indentation = by_text ? given[0] : runtime.own(std::string(width, ' '));
  const Value text = binary(runtime, Op::kAdd, value, runtime.own("\n"));
  const std::vector<std::string_view> lines = split_lines(text.str(), false);
  runtime.charge(lines.size() / 8 + 1);
  const bool blank = given.flag(2, false);
  MarkedText out;
  if (given.flag(1, false)) indentation.text().append_to(out);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      out += '\n';
      if (blank || !lines[i].empty()) indentation.text().append_to(out);
    }
    text.text().append_to(out, lines[i]);
    runtime.check_allocation(out.num_bytes());
  }
  return runtime.string(std::move(out), value.is_markup());
}

Value join(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "join", args, {"d", "attribute"});
  const MarkedText separator = given.given(0) ? to_text(runtime, given[0]) : MarkedText();
  const bool by_attribute = given.given_not_none(1);
  const AttributePath path = by_attribute ? AttributePath(runtime, given[1]) : AttributePath();
  MarkedText out;
  bool first = true;
  Iterator* items = iterate(runtime, value);
  for (Value item; items->next(runtime, item); first = false) {
    runtime.charge();
    if (!first) out.append(separator);
    out.append(to_text(runtime, path.get(runtime, item)));
    runtime.charge_bytes(separator.num_bytes());
    runtime.check_allocation(out.num_bytes());
  }
  return runtime.string(std::move(out));
}

Value center(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "center", args, {"width"});
  const Value text = soft_text(runtime, value);
  return center_text(runtime, text, given.integer(0, 80), runtime.own(" "));
}

Value truncate(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "truncate", args, {"length", "killwords", "end", "leeway"});
  const Int length = given.integer(0, 255);
  const std::string_view end = given.text(2, "...");
  const Int leeway = given.given_not_none(3) ? given.integer(3, 5) : 5;
  const Int end_size = static_cast<Int>(count_points(end));
  if (length < end_size) runtime.fail("AssertionError: expected length >= {}, got {}", end_size, length);
  if (leeway < 0) runtime.fail("AssertionError: expected leeway >= 0, got {}", leeway);
  const auto size = jinja::length(value);
  if (size && static_cast<Int>(*size) <= length + leeway) return value;
  if (!value.is_string()) runtime.fail("TypeError: truncate needs a string, got '{}'", type_name(value));
  std::string_view kept = value.str().substr(0, point_offset(value.str(), static_cast<size_t>(length - end_size)));
  if (!given.flag(1, false)) kept = kept.substr(0, kept.rfind(' '));
  MarkedText out;
  value.text().append_to(out, kept);
  given.given(2) ? given[2].text().append_to(out) : void(out += end);
  return runtime.string(std::move(out));
}

Value wordcount(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "wordcount", args, {});
  const std::string text = to_text(runtime, value).text;
  Int words = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const auto [point, num_bytes] = decode_at(text, at);
    if (is_word(point) && !inside) ++words;
    inside = is_word(point);
    at += num_bytes;
  }
  return Value(words);
}

Value format(Runtime& runtime, const Value& value, const Args& args) {
  if (!args.positional.empty() && !args.named.empty()) {
    runtime.fail("format cannot take positional and keyword arguments at the same time");
  }
  if (args.named.empty()) return format_percent(runtime, soft_text(runtime, value), runtime.tuple(args.positional));
  auto* named = runtime.make<Dict>();
  for (const auto& [name, argument] : args.named) runtime.dict_set(*named, runtime.keyword(name), argument);
  return format_percent(runtime, soft_text(runtime, value), Value(named));
}

Value string(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "string", args, {});
  return soft_text(runtime, value);
}

Value safe(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "safe", args, {});
  return runtime.string(to_text(runtime, value), true);
}

Value escape_filter(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "escape", args, {});
  return escape(runtime, value);
}

Value force_escape(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "forceescape", args, {});
  return escape(runtime, runtime.string(to_text(runtime, value)));
}

std::string quoted(std::string_view text, bool for_query) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                       c == '.' || c == '-' || c == '~' || (c == '/' && !for_query);
    if (plain) {
      out += c;
    } else if (c == ' ' && for_query) {
      out += '+';
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Value urlencode(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters none(runtime, "urlencode", args, {});
  MarkedText out;  // data whatever the value is: no token's name consists of quoted characters
  if (value.is_string() || !is_iterable(value)) {
    out += quoted(to_text(runtime, value).text, false);
    out.mark();
    return runtime.string(std::move(out));
  }
  const Value source = value.is_object(ObjectKind::kDict)
                           ? Value(runtime.make<DictView>(value.as<Dict>(), DictView::Part::kItems))
                           : value;
  for (const Value& pair : to_vector(runtime, source)) {
    const std::vector<Value> parts = to_vector(runtime, pair);
    if (parts.size() != 2) runtime.fail("ValueError: urlencode needs pairs");
    if (!out.text.empty()) out += '&';
    out += quoted(to_text(runtime, parts[0]).text, true) + "=" + quoted(to_text(runtime, parts[1]).text, true);
    runtime.check_allocation(out.text.size());
  }
  out.mark();
  return runtime.string(std::move(out));
}

// json.dumps, as Hugging Face replaces Jinja's own filter: nothing is escaped for HTML.
Value tojson(Runtime& runtime, const Value& value, const Args& args) {
  const Parameters given(runtime, "tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
  bool by_data = false;  // the caller's values choose what stands between the elements
  const auto note = [&](const Value& text) { by_data |= !text.text().data.empty(); };
  JsonStyle style;
  style.ensure_ascii = given.flag(0, false);
  style.sort_keys = given.flag(3, false);
  if (given.given_not_none(1)) {
    style.pretty = true;
    style.item_separator = ",";
    if (given[1].is_string()) {
      style.indent = given.text(1, "");
      note(given[1]);
    } else {
      const Int width = given.integer(1, 0);
      if (width > 1000) runtime.raise(ErrorCode::kLimit, "JSON is indented by more than 1000 blanks");
      style.indent.assign(static_cast<size_t>(std::max<Int>(width, 0)), ' ');
    }
  }
  if (given.given_not_none(2)) {
    const std::vector<Value> separators = to_vector(runtime, given[2]);
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string()) {
      runtime.fail("ValueError: tojson needs two separators");
    }
    style.item_separator = separators[0].str();
    style.key_separator = separators[1].str();
    for (const Value& separator : separators) note(separator);
  }
  MarkedText text = to_json(runtime, value, style);
  if (by_data) text.mark();
  return runtime.string(std::move(text));
}

constexpr Filter kFilters[] = {
    {"capitalize", mapped<to_capitalized>},
    {"center", center},
    {"e", escape_filter},
    {"escape", escape_filter},
    {"forceescape", force_escape},
    {"format", format},
    {"indent", indent},
    {"join", join},
    {"lower", mapped<to_lower>},
    {"replace", replace},
    {"safe", safe},
    {"string", string},
    {"title", title},
    {"tojson", tojson},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", mapped<to_upper>},
    {"urlencode", urlencode},
    {"wordcount", wordcount},
};

}  // namespace

std::span<const Filter> text_filters() { return kFilters; }

}  // namespace quire::jinja
