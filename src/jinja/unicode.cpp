#include "jinja/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <iterator>

namespace quire::jinja {
namespace {

struct SpecialCase {
  char32_t point;
  const char32_t* mapped;
};

#include "jinja/case_tables.inc"

const char32_t* find_special(const SpecialCase* first, const SpecialCase* last, char32_t point) {
  const auto* row = std::lower_bound(first, last, point, [](const SpecialCase& a, char32_t b) { return a.point < b; });
  return row != last && row->point == point ? row->mapped : nullptr;
}

utf8proc_category_t category(char32_t point) { return utf8proc_category(static_cast<utf8proc_int32_t>(point)); }

void append_mapped(std::string& out, const char32_t* mapped) {
  for (; *mapped != 0; ++mapped) append_utf8(out, *mapped);
}

void append_upper(std::string& out, char32_t point) {
  if (point < 0x80) {
    out += static_cast<char>(point >= 'a' && point <= 'z' ? point - 32 : point);
  } else if (const char32_t* mapped = find_special(std::begin(kSpecialUpper), std::end(kSpecialUpper), point)) {
    append_mapped(out, mapped);
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(point))));
  }
}

void append_title(std::string& out, char32_t point) {
  if (const char32_t* mapped = find_special(std::begin(kSpecialTitle), std::end(kSpecialTitle), point)) {
    append_mapped(out, mapped);
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(point))));
  }
}

bool is_cased(char32_t point) { return is_lower(point) || is_upper(point) || is_title(point); }

bool is_case_ignorable(char32_t point) {
  switch (category(point)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: return point == '\'' || point == '.' || point == ':' || point == 0xB7 || point == 0x2019;
  }
}

constexpr char32_t kCapitalSigma = 0x3A3;

// Greek sigma has a second lower-case form at the end of a word.
bool sigma_is_final(std::string_view text, size_t at) {
  bool after_letter = false;
  for (size_t i = at; i > 0;) {
    do --i;
    while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80);
    const char32_t point = decode_at(text, i).value;
    if (is_case_ignorable(point)) continue;
    after_letter = is_cased(point);
    break;
  }
  if (!after_letter) return false;
  for (size_t i = at + 2; i < text.size();) {
    const auto [point, num_bytes] = decode_at(text, i);
    if (!is_case_ignorable(point)) return !is_cased(point);
    i += num_bytes;
  }
  return true;
}

void append_lower(std::string& out, std::string_view text, size_t at, char32_t point) {
  if (point < 0x80) {
    out += static_cast<char>(point >= 'A' && point <= 'Z' ? point + 32 : point);
  } else if (point == 0x130) {
    append_mapped(out, U"i\u0307");
  } else if (point == kCapitalSigma) {
    append_utf8(out, sigma_is_final(text, at) ? 0x3C2 : 0x3C3);
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(point))));
  }
}

template <typename Append>
std::string map_points(std::string_view text, Append append) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const auto [point, num_bytes] = decode_at(text, i);
    append(out, i, point);
    i += num_bytes;
  }
  return out;
}

}  // namespace

CodePoint decode_at(std::string_view text, size_t at) {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) return {byte, 1};
  utf8proc_int32_t point = 0;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at);
  const auto left = static_cast<utf8proc_ssize_t>(std::min<size_t>(4, text.size() - at));
  const utf8proc_ssize_t used = utf8proc_iterate(bytes, left, &point);
  if (used <= 0 || point < 0) return {0xFFFD, 1};
  return {static_cast<char32_t>(point), static_cast<size_t>(used)};
}

void append_utf8(std::string& out, char32_t point) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t used = utf8proc_encode_char(static_cast<utf8proc_int32_t>(point), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(std::max<utf8proc_ssize_t>(used, 0)));
}

size_t count_points(std::string_view text) {
  unsigned char any = 0;
  for (const char c : text) any |= static_cast<unsigned char>(c);
  if (any < 0x80) return text.size();
  size_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) {
    i += static_cast<unsigned char>(text[i]) < 0x80 ? 1 : decode_at(text, i).num_bytes;
  }
  return count;
}

size_t point_offset(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += decode_at(text, at).num_bytes;
  return at;
}

bool is_space(char32_t point) {
  return (point >= 9 && point <= 13) || (point >= 28 && point <= 32) || point == 0x85 || point == 0xA0 ||
         point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x2028 || point == 0x2029 ||
         point == 0x202F || point == 0x205F || point == 0x3000;
}

bool is_line_break(char32_t point) {
  return (point >= 10 && point <= 13) || (point >= 28 && point <= 30) || point == 0x85 || point == 0x2028 ||
         point == 0x2029;
}

bool is_alpha(char32_t point) {
  const utf8proc_category_t kind = category(point);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t point) { return category(point) == UTF8PROC_CATEGORY_ND; }

bool is_digit(char32_t point) {
  return is_decimal(point) || point == 0xB2 || point == 0xB3 || point == 0xB9 || point == 0x2070 ||
         (point >= 0x2074 && point <= 0x2079) || (point >= 0x2080 && point <= 0x2089) ||
         (point >= 0x2460 && point <= 0x2468);
}

bool is_numeric(char32_t point) {
  const utf8proc_category_t kind = category(point);
  return is_digit(point) || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

bool is_lower(char32_t point) { return category(point) == UTF8PROC_CATEGORY_LL || point == 0xAA || point == 0xBA; }
bool is_upper(char32_t point) { return category(point) == UTF8PROC_CATEGORY_LU; }
bool is_title(char32_t point) { return category(point) == UTF8PROC_CATEGORY_LT; }

bool is_printable(char32_t point) {
  if (point == ' ') return true;
  switch (category(point)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    default: return true;
  }
}

bool is_word(char32_t point) { return point == '_' || is_alpha(point) || is_numeric(point); }

size_t find_text(std::string_view text, std::string_view sought, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (sought.empty()) return from;
  const void* found = memmem(text.data() + from, text.size() - from, sought.data(), sought.size());
  return found == nullptr ? std::string_view::npos : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

std::string_view strip_space(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const auto [point, num_bytes] = decode_at(text, 0);
    if (!is_space(point)) break;
    text.remove_prefix(num_bytes);
  }
  while (right && !text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    const auto [point, num_bytes] = decode_at(text, start);
    if (!is_space(point) || start + num_bytes != text.size()) break;
    text.remove_suffix(num_bytes);
  }
  return text;
}

std::string to_upper(std::string_view text) {
  return map_points(text, [](std::string& out, size_t, char32_t point) { append_upper(out, point); });
}

std::string to_lower(std::string_view text) {
  return map_points(text, [&](std::string& out, size_t at, char32_t point) { append_lower(out, text, at, point); });
}

std::string to_title(std::string_view text) {
  bool inside_word = false;
  return map_points(text, [&](std::string& out, size_t at, char32_t point) {
    if (inside_word) {
      append_lower(out, text, at, point);
    } else {
      append_title(out, point);
    }
    inside_word = is_cased(point);
  });
}

std::string to_capitalized(std::string_view text) {
  return map_points(text, [&](std::string& out, size_t at, char32_t point) {
    if (at == 0) {
      append_title(out, point);
    } else {
      append_lower(out, text, at, point);
    }
  });
}

std::string to_swapped(std::string_view text) {
  return map_points(text, [&](std::string& out, size_t at, char32_t point) {
    if (is_upper(point)) {
      append_lower(out, text, at, point);
    } else if (is_lower(point)) {
      append_upper(out, point);
    } else {
      append_utf8(out, point);
    }
  });
}

std::string to_folded(std::string_view text) {
  return map_points(text, [](std::string& out, size_t, char32_t point) {
    utf8proc_int32_t folded[8];
    int boundary = 0;
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(point), folded, 8, UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < count; ++i) append_utf8(out, static_cast<char32_t>(folded[i]));
  });
}

}  // namespace quire::jinja
