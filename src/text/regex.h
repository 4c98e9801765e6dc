// Regular expressions of tokenizer files, run by PCRE2. The originals are written for Oniguruma's Ruby syntax, which
// the Hugging Face library uses; `translate_expression` maps the differences.
//
// Immutable after construction, any thread. Expressions come from files and text from users, so both are bounded: a
// match that backtracks too much, or a text that costs far more than linear time, throws Error kLimit.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;

namespace quire {

class TextRegex {
 public:
  // Throws Error kUnsupported / kCorrupt naming the expression.
  explicit TextRegex(std::string_view expression);

  // Calls visit(begin, end) for each match of leftmost, non-overlapping matches, in order. `text` must be valid UTF-8.
  void for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& visit) const;

  const std::string& expression() const { return expression_; }

 private:
  std::string expression_;
  std::shared_ptr<const pcre2_real_code_8> code_;
};

// The same expression in PCRE2's syntax: \s \w \h of Oniguruma, Unicode classes with the characters that an older
// PCRE2 does not know, class intersection (&&) and nesting, (?m) as dot-matches-newline, {n,m}+ as a repetition.
std::string translate_expression(std::string_view expression);

}  // namespace quire
