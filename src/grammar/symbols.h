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
    kUnordered,  // first: index of an UnorderedList
    kRule,       // first: its body
    kIfSpecial,  // first: index of a name; second: offset of two parts: with such a special token, without
  };
  Kind kind = Kind::kTerminal;
  bool is_nullable = false;  // with a kIfSpecial's second part
  uint32_t first = 0, second = 0;
  int64_t min = 0, max = 0;
};

// Members in any order with a separator between two, at least one. None of them derives the empty text.
struct UnorderedList {
  bool is_required(size_t member) const { return member < num_required; }
  bool may_repeat(size_t member) const { return member >= num_once; }

  uint32_t separator = 0;
  // Offset and count of parts: first those that are required, then those that may come once, then any others.
  uint32_t first = 0, num_members = 0;
  uint32_t num_required = 0, num_once = 0;
  int64_t min = 0, max = 0;  // members in all
};

// Every symbol that the root reaches derives some text.
struct Grammar {
  explicit Grammar(RegularLanguages languages) : regular(std::move(languages)) {}

  std::span<const uint32_t> parts_of(const SymbolNode& node) const { return {parts.data() + node.first, node.second}; }
  std::span<const uint32_t> members_of(const UnorderedList& list) const {
    return {parts.data() + list.first, list.num_members};
  }

  RegularLanguages regular;
  std::vector<SymbolNode> symbols;
  std::vector<uint32_t> parts;
  std::vector<UnorderedList> unordered;
  std::vector<std::string> names;
  uint32_t root = 0;
};

}  // namespace quire
