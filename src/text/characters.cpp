#include "text/characters.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "text/unicode_versions.h"
#include "text/utf8.h"

namespace quire {
namespace {

// The Hugging Face library normalises by Unicode 9: later characters pass unchanged and nothing moves across them.
bool is_inert(char32_t code) {
  return code >= 0x7FD && (find_range(unnormalized_in_unicode9(), code) || find_range(added_characters(), code));
}

constexpr size_t kMaxDecomposition = 32;  // the longest, of U+FDFA, has 18 characters

struct Codepoint {
  utf8proc_int32_t code;
  int combining_class;
};

// Marks after a base character are ordered by class. utf8proc's own ordering is quadratic in a run's length.
void order_marks(std::vector<Codepoint>& text) {
  for (size_t begin = 0; begin < text.size(); ++begin) {
    if (text[begin].combining_class == 0) continue;
    size_t end = begin + 1;
    while (end < text.size() && text[end].combining_class != 0) ++end;
    std::stable_sort(text.begin() + begin, text.begin() + end,
                     [](const Codepoint& a, const Codepoint& b) { return a.combining_class < b.combining_class; });
    begin = end;
  }
}

// Composes in place, each run between inert characters separately.
void compose(std::vector<utf8proc_int32_t>& codes) {
  size_t written = 0;
  for (size_t begin = 0; begin < codes.size();) {
    size_t end = begin;
    while (end < codes.size() && !is_inert(static_cast<char32_t>(codes[end]))) ++end;
    const auto size = utf8proc_normalize_utf32(&codes[begin], static_cast<utf8proc_ssize_t>(end - begin),
                                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    CHECK(size >= 0);
    std::copy_n(codes.begin() + begin, size, codes.begin() + written);
    written += static_cast<size_t>(size);
    if (end < codes.size()) codes[written++] = codes[end++];
    begin = end;
  }
  codes.resize(written);
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char byte) { return static_cast<unsigned char>(byte) < 0x80; });
}

}  // namespace

utf8proc_category_t character_category(char32_t code) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  if (category != UTF8PROC_CATEGORY_CN) return category;
  const CategoryRange* added = find_range(added_characters(), code);
  return added != nullptr ? added->category : category;
}

bool is_whitespace(char32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_letter(char32_t code) {
  const auto category = character_category(code);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool is_numeric(char32_t code) {
  const auto category = character_category(code);
  const bool unicode17 = (code >= 0x11DE0 && code <= 0x11DE9) || (code >= 0x16FF4 && code <= 0x16FF6);
  return (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) || unicode17;
}

bool is_mark_unicode9(char32_t code) {
  const auto category = character_category(code);
  const bool mark = category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
  return mark != (find_range(marks_changed_since_unicode9(), code) != nullptr);
}

bool is_nonspacing_mark_unicode8(char32_t code) {
  const bool mark = character_category(code) == UTF8PROC_CATEGORY_MN;
  return mark != (find_range(nonspacing_changed_since_unicode8(), code) != nullptr);
}

bool is_punctuation_unicode8(char32_t code) {
  const auto category = character_category(code);
  const bool punctuation = category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
  return punctuation != (find_range(punctuation_changed_since_unicode8(), code) != nullptr);
}

bool is_other_unicode8(char32_t code) {
  const auto category = character_category(code);
  const bool other =
      category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
  return other != (find_range(other_changed_since_unicode8(), code) != nullptr);
}

bool is_word(char32_t code) {
  const auto category = character_category(code);
  const bool circled_letter = (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
                              (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) || category == UTF8PROC_CATEGORY_PC ||
         circled_letter || code == 0x200C || code == 0x200D;
}

void append_lowercase(std::string& out, char32_t code) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code >= 'A' && code <= 'Z' ? code + 32 : code));
  } else if (code == 0x130) {  // the only unconditional two-character mapping in SpecialCasing.txt
    out += "i\xCC\x87";
  } else if (const CaseRange* added = find_range(added_lowercase(), code)) {
    append_utf8(out, code + static_cast<char32_t>(added->to_lower));
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
  }
}

std::string normalize_unicode(std::string_view valid_text, UnicodeForm form) {
  if (is_ascii(valid_text)) return std::string(valid_text);
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const auto decompose =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<Codepoint> decomposed;
  decomposed.reserve(valid_text.size());
  for_each_character(valid_text, [&](char32_t code, size_t, size_t) {
    if (is_inert(code)) return decomposed.push_back({static_cast<utf8proc_int32_t>(code), 0});
    utf8proc_int32_t parts[kMaxDecomposition];
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), parts, kMaxDecomposition, decompose, &boundary);
    CHECK(count >= 0 && count <= static_cast<utf8proc_ssize_t>(kMaxDecomposition));
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      decomposed.push_back({parts[i], utf8proc_get_property(parts[i])->combining_class});
    }
  });
  order_marks(decomposed);

  std::vector<utf8proc_int32_t> codes(decomposed.size());
  std::transform(decomposed.begin(), decomposed.end(), codes.begin(), [](const Codepoint& c) { return c.code; });
  if (form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc) compose(codes);
  std::string out;
  out.reserve(valid_text.size() * 2);
  for (const auto code : codes) append_utf8(out, static_cast<char32_t>(code));
  return out;
}

}  // namespace quire
