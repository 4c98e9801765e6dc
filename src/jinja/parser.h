// Jinja source to a Template. Jinja's grammar and precedence (which are not quite Python's: `-1 | abs`, `a ~ b`, `**`
// from left to right), without tags that load other templates.
#pragma once

#include <memory>
#include <string_view>

#include "jinja/ast.h"

namespace quire::jinja {

constexpr size_t kMaxSourceBytes = 512u << 10;  // the largest of 67 real templates has 17 KB
constexpr int kMaxParseDepth = 100;             // nested brackets and blocks
constexpr int kMaxExprHeight = 400;             // of an expression's tree: also long chains such as a + b + c ...

// Throws Error: kCorrupt for a syntax error, kUnsupported for a tag, filter or test that this engine does not have,
// kLimit beyond the sizes above. Every message names the line.
std::unique_ptr<const Template> parse_template(std::string_view source);

}  // namespace quire::jinja
