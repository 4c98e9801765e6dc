// A context-free grammar whose terminals are regular languages over bytes. Front ends (JSON Schema, regular
// expressions, GBNF, structural tags) build one; compile.h makes it a constraint on tokens.
//
// Text is UTF-8: a regular language of characters is one of their bytes, so that a token may end within a character.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace quire {

struct Grammar;

// What a front end may use. A grammar beyond it is refused with Error kLimit.
struct GrammarLimits {
  size_t max_nodes = 200'000;           // regular expressions and symbols, after equal ones were joined
  size_t max_text_bytes = 1 << 20;      // of a schema, an expression or a GBNF text
  int max_depth = 500;                  // of nesting
  int64_t max_repeats = 1'000'000;      // a bound of a repetition
  double max_seconds = 2.0;             // of compiling: of its thread, so that no other load decides
  size_t max_memory_bytes = 256 << 20;  // of a compiled grammar and the states that matching adds to it
  // Of matching one answer: units of about 20 ns, counted, so that no other load decides what is refused. A quarter of
  // it for one step. Each token of the answer adds 1/2000.
  size_t max_work = 200'000'000;
};

// Ranges of code points, each [first, last].
using CharacterRanges = std::vector<std::pair<char32_t, char32_t>>;
constexpr int64_t kNoMaximum = -1;

// Nodes of one builder. Equal languages that are written alike are one node.
struct Regex {
  uint32_t id = 0;
  bool operator==(const Regex&) const = default;
};
struct Symbol {
  uint32_t id = 0;
  bool operator==(const Symbol&) const = default;
};

class GrammarBuilder {
 public:
  explicit GrammarBuilder(GrammarLimits limits = {});
  ~GrammarBuilder();
  GrammarBuilder(const GrammarBuilder&) = delete;
  GrammarBuilder& operator=(const GrammarBuilder&) = delete;

  // ---- Regular languages. Each throws Error kLimit beyond the limits.
  Regex nothing();  // no string at all
  Regex empty();    // the empty string
  Regex literal(std::string_view bytes);
  Regex character(const CharacterRanges& ranges);  // one character of these; surrogates are left out
  Regex any_character();
  Regex concat(std::span<const Regex> parts);
  Regex any_of(std::span<const Regex> parts);
  Regex all_of(std::span<const Regex> parts);                        // intersection
  Regex complement(Regex inner);                                     // among strings of whole UTF-8 characters
  Regex repeat(Regex inner, int64_t min, int64_t max = kNoMaximum);  // counted without copies where that matters
  // A regular expression in the syntax of ECMA-262 with the flag u, as JSON Schema has it; those without a regular
  // language (back references, look-around) are refused. `is_anchored`: the expression matches the whole text, else it
  // is found anywhere in it, and ^ and $ bind. Throws Error kInvalidArgument with the place.
  Regex expression(std::string_view pattern, bool is_anchored);
  // No string at all matches. Throws Error kLimit where that would take too long to find out.
  bool is_nothing(Regex regex);
  // Strings of digits, '-' and '.', at least one digit, whose digits are, as one number, a multiple of `divisor` >= 1.
  Regex multiple_of(uint32_t divisor);
  // The same strings as they stand between the quotes of a JSON text: a quote, a backslash and control characters
  // escaped, other characters as they are.
  Regex json_escaped(Regex inner);

  // ---- Symbols
  Symbol terminal(Regex regex);
  // A special token by its name, which text never becomes ("<tool_call>"). Where the vocabulary has no such special
  // token, it is the name's text.
  Symbol special(std::string_view name);
  Symbol sequence(std::span<const Symbol> parts);
  Symbol choice(std::span<const Symbol> parts);
  Symbol repeat(Symbol inner, int64_t min, int64_t max = kNoMaximum);
  // One or more members in any order, a separator between two: `required` ones once, `optional` ones at most once,
  // `others` any number of times; min to max members in all. None may derive the empty text. The states that matching
  // needs for it are made when they are met.
  struct Members {
    Symbol separator;
    std::vector<Symbol> required = {}, optional = {}, others = {};
    int64_t min = 0, max = kNoMaximum;
  };
  Symbol unordered(const Members& members);
  // Any text, special tokens excluded, up to and including the first of `ends` that it contains (each a non-empty
  // literal or special name), then what belongs to that end; or, if `may_end`, any text without one of them.
  struct Branch {
    std::string_view end;
    Symbol then;
  };
  Symbol text_until(std::span<const Branch> branches, bool may_end);
  // A rule: declared, used anywhere, defined once before build(). Rules may be recursive.
  Symbol declare(std::string_view name);
  void define(Symbol rule, Symbol body);

  // Throws Error kLimit once building has taken longer than the limits allow.
  void check_time() const;
  // Once. Throws Error kInvalidArgument for a rule without a definition, or when no text fits.
  std::shared_ptr<const Grammar> build(Symbol root);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Whether the whole text fits: the plain reference, slow. For tests.
bool fits(const Grammar& grammar, std::string_view text);
// Whether some text that fits begins like this.
bool may_begin(const Grammar& grammar, std::string_view text);

}  // namespace quire
