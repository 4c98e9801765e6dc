#include "jinja/string_methods.h"

#include <algorithm>
#include <set>

#include "jinja/format.h"
#include "jinja/operators.h"
#include "jinja/unicode.h"

namespace quire::jinja {
namespace {

// A backward search may take time in proportion to the product of both lengths.
void charge_search(Runtime& runtime, std::string_view text, std::string_view sought, bool from_right) {
  runtime.charge_bytes(text.size());
  if (from_right) runtime.charge(text.size() / kBytesPerOperation * (sought.size() / 16));
}

constexpr Int kMaxPadding = 1'000'000;

template <std::string (*Map)(std::string_view)>
Value mapped(Runtime& runtime, const Value& self, Args& args) {
  const Parameters none(runtime, "method", args, {});
  runtime.charge_bytes(self.str().size());
  return runtime.rewritten(self, Map(self.str()));
}

// True when the string is not empty and every code point passes.
template <bool (*Is)(char32_t)>
Value all_points(Runtime& runtime, const Value& self, Args& args) {
  const Parameters none(runtime, "method", args, {});
  const std::string_view text = self.str();
  runtime.charge_bytes(text.size());
  for (size_t at = 0; at < text.size();) {
    const auto [point, num_bytes] = decode_at(text, at);
    if (!Is(point)) return Value(false);
    at += num_bytes;
  }
  return Value(!text.empty());
}

bool is_alnum(char32_t point) { return is_alpha(point) || is_numeric(point); }

Value is_ascii(Runtime&, const Value& self, Args&) { return Value(self.text().is_ascii()); }

Value is_printable_text(Runtime& runtime, const Value& self, Args& args) {
  return self.str().empty() ? Value(true) : all_points<is_printable>(runtime, self, args);
}

Value is_identifier(Runtime& runtime, const Value& self, Args& args) {
  if (self.str().empty() || is_numeric(decode_at(self.str(), 0).value)) return Value(false);
  return all_points<is_word>(runtime, self, args);
}

// islower and isupper: at least one cased letter, and none of the other case.
template <bool (*Is)(char32_t), bool (*IsOther)(char32_t)>
Value all_cased(Runtime& runtime, const Value& self, Args&) {
  runtime.charge_bytes(self.str().size());
  bool any = false;
  for (size_t at = 0; at < self.str().size();) {
    const auto [point, num_bytes] = decode_at(self.str(), at);
    if (IsOther(point) || is_title(point)) return Value(false);
    any |= Is(point);
    at += num_bytes;
  }
  return Value(any);
}

Value is_title_text(Runtime& runtime, const Value& self, Args&) {
  runtime.charge_bytes(self.str().size());
  bool any = false;
  bool inside_word = false;
  for (size_t at = 0; at < self.str().size();) {
    const auto [point, num_bytes] = decode_at(self.str(), at);
    const bool capital = is_upper(point) || is_title(point);
    if ((capital && inside_word) || (is_lower(point) && !inside_word)) return Value(false);
    inside_word = capital || is_lower(point);
    any |= inside_word;
    at += num_bytes;
  }
  return Value(any);
}

template <bool Left, bool Right>
Value strip(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "strip", args, {""});
  runtime.charge_bytes(self.str().size());
  if (!given.given_not_none(0)) return runtime.part(self, strip_space(self.str(), Left, Right));
  const std::string_view chars = given.text(0, "");
  runtime.charge(chars.size() / 64);
  return runtime.part(self, strip_chars(self.str(), &chars, Left, Right));
}

Value pieces(Runtime& runtime, const Value& self, const std::vector<std::string_view>& parts) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(runtime.part(self, part));
  runtime.charge(parts.size());
  return runtime.list(std::move(items));
}

std::vector<std::string_view> split_space(std::string_view text, Int max_splits, bool from_right) {
  std::vector<std::string_view> parts;
  text = strip_space(text, !from_right, from_right);
  while (!text.empty()) {
    if (max_splits >= 0 && static_cast<Int>(parts.size()) >= max_splits) {
      parts.push_back(text);
      break;
    }
    if (from_right) {
      size_t cut = text.size();
      while (cut > 0) {
        size_t start = cut - 1;
        while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
        if (is_space(decode_at(text, start).value)) break;
        cut = start;
      }
      parts.push_back(text.substr(cut));
      text = strip_space(text.substr(0, cut), false, true);
    } else {
      size_t cut = 0;
      while (cut < text.size() && !is_space(decode_at(text, cut).value)) cut += decode_at(text, cut).num_bytes;
      parts.push_back(text.substr(0, cut));
      text = strip_space(text.substr(cut), true, false);
    }
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, Int max_splits,
                                       bool from_right) {
  std::vector<std::string_view> parts;
  while (max_splits < 0 || static_cast<Int>(parts.size()) < max_splits) {
    const size_t cut = from_right ? text.rfind(separator) : find_text(text, separator);
    if (cut == std::string_view::npos) break;
    parts.push_back(from_right ? text.substr(cut + separator.size()) : text.substr(0, cut));
    text = from_right ? text.substr(0, cut) : text.substr(cut + separator.size());
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool FromRight>
Value split(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "split", args, {"sep", "maxsplit"});
  runtime.charge_bytes(self.str().size());
  const Int max_splits = given.integer(1, -1);
  if (!given.given_not_none(0)) return pieces(runtime, self, split_space(self.str(), max_splits, FromRight));
  const std::string_view separator = given.text(0, "");
  if (separator.empty()) runtime.fail("ValueError: empty separator");
  charge_search(runtime, self.str(), separator, FromRight);
  return pieces(runtime, self, split_at(self.str(), separator, max_splits, FromRight));
}

Value splitlines(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "splitlines", args, {"keepends"});
  runtime.charge_bytes(self.str().size());
  return pieces(runtime, self, split_lines(self.str(), given.integer(0, 0) != 0));
}

template <bool FromRight>
Value partition(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "partition", args, {""}, 1);
  runtime.charge_bytes(self.str().size());
  const std::string_view text = self.str();
  const std::string_view separator = given.text(0, "");
  if (separator.empty()) runtime.fail("ValueError: empty separator");
  charge_search(runtime, text, separator, FromRight);
  const size_t cut = FromRight ? text.rfind(separator) : find_text(text, separator);
  std::string_view parts[3] = {text, "", ""};
  if (cut == std::string_view::npos) {
    if (FromRight) std::swap(parts[0], parts[2]);
  } else {
    parts[0] = text.substr(0, cut);
    parts[1] = text.substr(cut, separator.size());
    parts[2] = text.substr(cut + separator.size());
  }
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(runtime.part(self, part));
  return runtime.tuple(std::move(items));
}

// The bytes [first, last) of a string that optional start and end arguments select.
struct Window {
  size_t first, last;
  bool empty_past_end = false;  // start lies beyond the string: nothing is found there, not even ""
};

Window window(Runtime& runtime, const Value& self, const Parameters& given, size_t start_index) {
  const Int size = static_cast<Int>(self.text().num_points);
  const auto bound = [&](size_t i, Int fallback) {
    Int index = given.given_not_none(i) ? given.integer(i, 0) : fallback;
    if (index < 0) index = std::max<Int>(index + size, 0);
    return index;
  };
  runtime.charge_bytes(self.str().size());
  const Int start = bound(start_index, 0);
  const Int end = std::min(bound(start_index + 1, size), size);
  if (start > size || start > end) return {0, 0, true};
  return {point_offset(self.str(), static_cast<size_t>(start)), point_offset(self.str(), static_cast<size_t>(end))};
}

template <bool FromRight, bool Required>
Value find(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "find", args, {"", "", ""}, 1);
  const Window range = window(runtime, self, given, 1);
  const std::string_view text = self.str().substr(range.first, range.last - range.first);
  const std::string_view sought = given.text(0, "");
  charge_search(runtime, text, sought, FromRight);
  const size_t at =
      range.empty_past_end ? std::string_view::npos : (FromRight ? text.rfind(sought) : find_text(text, sought));
  if (at != std::string_view::npos) return Value(count_points(self.str().substr(0, range.first + at)));
  if (Required) runtime.fail("ValueError: substring not found");
  return Value(-1);
}

Value count(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "count", args, {"", "", ""}, 1);
  const Window range = window(runtime, self, given, 1);
  const std::string_view text = self.str().substr(range.first, range.last - range.first);
  const std::string_view sought = given.text(0, "");
  if (range.empty_past_end) return Value(0);
  if (sought.empty()) return Value(count_points(text) + 1);
  Int found = 0;
  for (size_t at = find_text(text, sought); at != std::string_view::npos;
       at = find_text(text, sought, at + sought.size()))
    ++found;
  return Value(found);
}

template <bool AtEnd>
Value has_affix(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, AtEnd ? "endswith" : "startswith", args, {"", "", ""}, 1);
  const Window range = window(runtime, self, given, 1);
  const std::string_view text = self.str().substr(range.first, range.last - range.first);
  const auto matches = [&](const Value& affix) {
    if (!affix.is_string()) {
      runtime.fail("TypeError: {} first arg must be str or a tuple of str, not {}", AtEnd ? "endswith" : "startswith",
                   type_name(affix));
    }
    runtime.charge(1 + affix.str().size() / kBytesPerOperation);
    return !range.empty_past_end && (AtEnd ? text.ends_with(affix.str()) : text.starts_with(affix.str()));
  };
  if (!given[0].is_object(ObjectKind::kTuple)) return Value(matches(given[0]));
  return Value(std::any_of(given[0].items().begin(), given[0].items().end(), matches));
}

template <bool AtEnd>
Value remove_affix(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "removeprefix", args, {""}, 1);
  std::string_view text = self.str();
  const std::string_view affix = given.text(0, "");
  if (AtEnd && text.ends_with(affix)) text.remove_suffix(affix.size());
  if (!AtEnd && text.starts_with(affix)) text.remove_prefix(affix.size());
  return runtime.part(self, text);
}

Value replace(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "replace", args, {"", "", ""}, 2);
  given.text(1, "");  // must be a string
  const Value substitute = self.is_markup() ? escape(runtime, given[1]) : given[1];
  return runtime.string(replace_text(runtime, self, given.text(0, ""), substitute, given.integer(2, -1)),
                        self.is_markup());
}

Value join(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "join", args, {""}, 1);
  if (!is_iterable(given[0])) runtime.fail("TypeError: can only join an iterable");
  MarkedText text;
  bool first = true;
  Iterator* items = iterate(runtime, given[0]);
  for (Value item; items->next(runtime, item); first = false) {
    runtime.charge();
    if (self.is_markup()) item = escape(runtime, item);
    if (!item.is_string()) runtime.fail("TypeError: expected str instance in join, {} found", type_name(item));
    if (!first) self.text().append_to(text);
    item.text().append_to(text);
    runtime.check_allocation(text.num_bytes());
  }
  return runtime.string(std::move(text), self.is_markup());
}

size_t checked_width(Runtime& runtime, Int width) {
  if (width > kMaxPadding) {
    runtime.raise(ErrorCode::kLimit,
                  fmt::format("a string is padded to more than {} characters", int64_t{kMaxPadding}));
  }
  return static_cast<size_t>(std::max<Int>(width, 0));
}

void append_repeated(MarkedText& out, const Value& fill, size_t times) {
  for (size_t i = 0; i < times; ++i) fill.text().append_to(out);
}

Value fill_character(Runtime& runtime, const Parameters& given) {
  if (count_points(given.text(1, " ")) != 1) {
    runtime.fail("TypeError: The fill character must be exactly one character long");
  }
  return given.given(1) ? given[1] : runtime.own(" ");
}

template <bool Left>
Value justify(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "ljust", args, {"", ""}, 1);
  const size_t width = checked_width(runtime, given.integer(0, 0));
  const size_t size = self.text().num_points;
  const Value fill = fill_character(runtime, given);
  const size_t missing = width > size ? width - size : 0;
  MarkedText text;
  if (!Left) append_repeated(text, fill, missing);
  self.text().append_to(text);
  if (Left) append_repeated(text, fill, missing);
  return runtime.string(std::move(text), self.is_markup());
}

Value center(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "center", args, {"", ""}, 1);
  return center_text(runtime, self, given.integer(0, 0), fill_character(runtime, given));
}

Value zfill(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "zfill", args, {""}, 1);
  const size_t width = checked_width(runtime, given.integer(0, 0));
  const size_t size = self.text().num_points;
  std::string text(self.str());
  if (width > size) text.insert(!text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0, width - size, '0');
  return runtime.rewritten(self, std::move(text));
}

Value expandtabs(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "expandtabs", args, {"tabsize"});
  const size_t tab = checked_width(runtime, given.integer(0, 8));
  std::string text;
  size_t column = 0;
  for (const char c : self.str()) {
    if (c == '\t') {
      const size_t blanks = tab == 0 ? 0 : tab - column % tab;
      text.append(blanks, ' ');
      column += blanks;
      runtime.check_allocation(text.size());
      runtime.charge_bytes(blanks);
      continue;
    }
    text += c;
    if (c == '\n' || c == '\r') {
      column = 0;
    } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {
      ++column;
    }
  }
  return runtime.rewritten(self, std::move(text));
}

Value format(Runtime& runtime, const Value& self, Args& args) { return format_braces(runtime, self, args); }

Value format_map(Runtime& runtime, const Value& self, Args& args) {
  const Parameters given(runtime, "format_map", args, {""}, 1);
  const auto* mapping = given[0].as<Dict>();
  if (mapping == nullptr) runtime.fail("TypeError: format_map() needs a mapping, got '{}'", type_name(given[0]));
  Args named;
  for (const auto& [key, value] : mapping->entries) {
    if (key.is_string()) named.named.emplace_back(std::string(key.str()), value);
  }
  return format_braces(runtime, self, named);
}

constexpr MethodEntry kMethods[] = {
    {"capitalize", mapped<to_capitalized>},
    {"casefold", mapped<to_folded>},
    {"center", center},
    {"count", count},
    {"encode", nullptr},
    {"endswith", has_affix<true>},
    {"expandtabs", expandtabs},
    {"find", find<false, false>},
    {"format", format},
    {"format_map", format_map},
    {"index", find<false, true>},
    {"isalnum", all_points<is_alnum>},
    {"isalpha", all_points<is_alpha>},
    {"isascii", is_ascii},
    {"isdecimal", all_points<is_decimal>},
    {"isdigit", all_points<is_digit>},
    {"isidentifier", is_identifier},
    {"islower", all_cased<is_lower, is_upper>},
    {"isnumeric", all_points<is_numeric>},
    {"isprintable", is_printable_text},
    {"isspace", all_points<is_space>},
    {"istitle", is_title_text},
    {"isupper", all_cased<is_upper, is_lower>},
    {"join", join},
    {"ljust", justify<true>},
    {"lower", mapped<to_lower>},
    {"lstrip", strip<true, false>},
    {"maketrans", nullptr},
    {"partition", partition<false>},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"replace", replace},
    {"rfind", find<true, false>},
    {"rindex", find<true, true>},
    {"rjust", justify<false>},
    {"rpartition", partition<true>},
    {"rsplit", split<true>},
    {"rstrip", strip<false, true>},
    {"split", split<false>},
    {"splitlines", splitlines},
    {"startswith", has_affix<false>},
    {"strip", strip<true, true>},
    {"swapcase", mapped<to_swapped>},
    {"title", mapped<to_title>},
    {"translate", nullptr},
    {"upper", mapped<to_upper>},
    {"zfill", zfill},
};

}  // namespace

std::span<const MethodEntry> string_methods() { return kMethods; }

std::string_view strip_chars(std::string_view text, const std::string_view* chars, bool left, bool right) {
  if (chars == nullptr) return strip_space(text, left, right);
  std::set<char32_t> points;
  for (size_t at = 0; at < chars->size(); at += decode_at(*chars, at).num_bytes) {
    points.insert(decode_at(*chars, at).value);
  }
  const auto listed = [&](std::string_view point) { return points.count(decode_at(point, 0).value) != 0; };
  while (left && !text.empty()) {
    const size_t num_bytes = decode_at(text, 0).num_bytes;
    if (!listed(text.substr(0, num_bytes))) break;
    text.remove_prefix(num_bytes);
  }
  while (right && !text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    if (!listed(text.substr(start))) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

MarkedText replace_text(Runtime& runtime, const Value& value, std::string_view old_text, const Value& new_text,
                        Int max_count) {
  const std::string_view text = value.str();
  runtime.charge_bytes(text.size());
  MarkedText out;
  const auto keep = [&](std::string_view part) { value.text().append_to(out, part); };
  const auto substitute = [&] {
    new_text.text().append_to(out);
    runtime.check_allocation(out.num_bytes());
  };
  size_t at = 0;
  if (max_count < 0) max_count = static_cast<Int>(text.size()) + 1;
  if (old_text.empty()) {
    for (; max_count > 0; --max_count) {
      substitute();
      if (at >= text.size()) break;
      const size_t num_bytes = decode_at(text, at).num_bytes;
      keep(text.substr(at, num_bytes));
      at += num_bytes;
    }
    keep(text.substr(at));
    return out;
  }
  for (; max_count > 0; --max_count) {
    const size_t found = find_text(text, old_text, at);
    if (found == std::string_view::npos) break;
    keep(text.substr(at, found - at));
    substitute();
    at = found + old_text.size();
  }
  keep(text.substr(at));
  return out;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    const auto [point, num_bytes] = decode_at(text, at);
    if (!is_line_break(point)) {
      at += num_bytes;
      continue;
    }
    size_t end = at + num_bytes;
    if (point == '\r' && end < text.size() && text[end] == '\n') ++end;
    lines.push_back(text.substr(start, (keep_ends ? end : at) - start));
    start = at = end;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

Value center_text(Runtime& runtime, const Value& text, Int width, const Value& fill) {
  const size_t total = checked_width(runtime, width);
  const size_t size = text.text().num_points;
  const size_t missing = total > size ? total - size : 0;
  const size_t left = missing / 2 + (missing & total & 1);
  MarkedText out;
  append_repeated(out, fill, left);
  text.text().append_to(out);
  append_repeated(out, fill, missing - left);
  return runtime.string(std::move(out), text.is_markup());
}

}  // namespace quire::jinja
