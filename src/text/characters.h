// Properties of Unicode characters as defined by the libraries whose ids Quire must reproduce; unicode_versions.h says
// which Unicode version each one uses. Pure functions, any thread.
#pragma once

#include <utf8proc.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace quire {

// Of Unicode 16 or later.
utf8proc_category_t character_category(char32_t code);

bool is_whitespace(char32_t code);  // Unicode White_Space
bool is_word(char32_t code);        // \w of UTS 18: alphabetic, mark, decimal number, connector, join control
bool is_letter(char32_t code);
bool is_numeric(char32_t code);  // categories Nd, Nl, No

// By the Hugging Face library's older tables.
bool is_mark_unicode9(char32_t code);             // Mn, Mc, Me
bool is_nonspacing_mark_unicode8(char32_t code);  // Mn
bool is_punctuation_unicode8(char32_t code);      // P*
bool is_other_unicode8(char32_t code);            // Cc, Cf, Co

// One character may become two (U+0130).
void append_lowercase(std::string& out, char32_t code);

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };
// By Unicode 9's data, as the Hugging Face library has it: later characters stay as they are. Linear in the text's
// length except for sorting each run of combining marks.
std::string normalize_unicode(std::string_view valid_text, UnicodeForm form);

}  // namespace quire
