// What GrammarBuilder makes: regular languages and symbols over them. Immutable after build().
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "grammar/regular.h"

namespace quire {

struct SymbolNode {
  enum class Kind : uint8_t {
    kTerminal,   // first: a regular language
    kSpecial,    // first: index of the special token's name
    kSequence,   // first, second: offset and count of parts
    kChoice,     // first, second: offset and count of parts
    kRepeat,     // first: the symbol that is repeated, [min, max] times
    kRule,       // first: its body
    kIfSpecial,  // first: index of a name; second: offset of two parts: with such a special token, without
  };
  Kind kind = Kind::kTerminal;
  bool is_nullable = false;  // with a kIfSpecial's second part
  uint32_t first = 0, second = 0;
  int64_t min = 0, max = 0;
};

// Every symbol that the root reaches derives some text.
struct Grammar {
  explicit Grammar(RegularLanguages languages) : regular(std::move(languages)) {}

  std::span<const uint32_t> parts_of(const SymbolNode& node) const { return {parts.data() + node.first, node.second}; }

  RegularLanguages regular;
  std::vector<SymbolNode> symbols;
  std::vector<uint32_t> parts;
  std::vector<std::string> names;
  uint32_t root = 0;
};

}  // namespace quire
