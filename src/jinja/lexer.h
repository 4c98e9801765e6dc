// Template source to tokens, with Jinja's whitespace control as Hugging Face configures it: trim_blocks (a newline
// after a block tag goes), lstrip_blocks (blanks before a block tag that starts a line go), no trailing newline.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/value.h"

namespace quire::jinja {

enum class TokenKind : uint8_t {
  kText,         // text: template data
  kOutputBegin,  // {{
  kOutputEnd,    // }}
  kBlockBegin,   // {%
  kBlockEnd,     // %}
  kName,         // text
  kString,       // text, unescaped
  kInteger,      // integer
  kFloat,        // floating
  kOperator,     // text: "+", "**", "(", ...
  kEnd,
};

struct Token {
  TokenKind kind;
  int line;
  std::string text;
  Int integer = 0;
  double floating = 0;
};

// Ends with a kEnd token. Throws Error kCorrupt with the line for anything Jinja would not tokenise.
std::vector<Token> tokenize(std::string_view source);

// Throws Error kCorrupt: "<message> (chat template, line N)".
[[noreturn]] void syntax_error(int line, const std::string& message);

}  // namespace quire::jinja
