// Differences between Unicode versions. The libraries whose ids Quire reproduces each use a fixed version: the Hugging
// Face library normalises by Unicode 9, sorts marks and punctuation by Unicode 8 and runs expressions by Unicode 16,
// while utf8proc and PCRE2 have the version of the distribution's build. Constant tables, any thread.
//
// The tables were found by comparing every code point with tokenizers 0.23; tools/tokenizer_oracle.py repeats it.
#pragma once

#include <utf8proc.h>

#include <span>

namespace quire {

struct CodeRange {
  char32_t first, last;
};
struct CategoryRange {
  char32_t first, last;
  utf8proc_category_t category;
};
struct CaseRange {
  char32_t first, last;
  int32_t to_lower;  // added to a code
};

// All tables are sorted by code.
std::span<const CategoryRange> added_characters();               // assigned by Unicode 15 and 16
std::span<const CaseRange> added_lowercase();                    // lower cases that Unicode 14 to 17 added
std::span<const CodeRange> unnormalized_in_unicode9();           // later ones with a combining class or a decomposition
std::span<const CodeRange> marks_changed_since_unicode9();       // category M* or not: the older answer is the opposite
std::span<const CodeRange> nonspacing_changed_since_unicode8();  // the same for Mn
std::span<const CodeRange> punctuation_changed_since_unicode8();  // the same for P*
std::span<const CodeRange> other_changed_since_unicode8();        // the same for Cc, Cf, Co

// The range that holds `code`, or nullptr.
template <typename Range>
const Range* find_range(std::span<const Range> ranges, char32_t code) {
  size_t low = 0, high = ranges.size();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (ranges[middle].last < code) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < ranges.size() && ranges[low].first <= code ? &ranges[low] : nullptr;
}

}  // namespace quire
