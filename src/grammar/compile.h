// From what a request asks for to a constraint on its tokens.
#pragma once

#include <memory>
#include <string>

#include "decoding/token_constraint.h"
#include "grammar/grammar.h"
#include "text/tokenizer.h"

namespace quire {

enum class GrammarKind : uint8_t {
  kJsonSchema,     // text: a JSON Schema
  kJsonObject,     // any JSON object
  kRegex,          // text: a regular expression that the whole answer matches
  kChoice,         // text: a JSON list of strings
  kGbnf,           // text: llama.cpp's GBNF, or EBNF as vLLM takes it; the rule `root` begins
  kStructuralTag,  // text: vLLM's structural tags, a JSON object
};

struct GrammarSpec {
  GrammarKind kind = GrammarKind::kJsonObject;
  std::string text = {};
  // The grammar begins after this text or special token, before which anything may stand ("</think>"). Empty: at once.
  std::string starts_after = {};
  // Where not empty: `starts_after` counts only for a text that begins with this text or special token ("<think>"); in
  // any other the grammar begins at once. It may have special tokens in it.
  std::string starts_after_begin = {};
  // Texts with special tokens in them: what stands between `starts_after` and the grammar, and what the grammar itself
  // is preceded by ("<|channel|>final<|message|>").
  std::string next = {};
  std::string opening = {};
  bool any_whitespace = true;  // of JSON: where it may stand, as far as it stays short; else as json.dumps writes it
  bool any_order = false;      // of JSON: the properties of an object; else in the schema's

  bool operator==(const GrammarSpec&) const = default;
};

// The tokens of a model as byte strings in a trie. Made once for a model; immutable.
class GrammarVocabulary {
 public:
  virtual ~GrammarVocabulary() = default;
  virtual size_t memory_bytes() const = 0;

  // vocab_size: of the model's logits. `eog_ids`: tokens that end a generation.
  static std::shared_ptr<const GrammarVocabulary> make(const Tokenizer& tokenizer, int64_t vocab_size,
                                                       std::span<const int32_t> eog_ids);
};

// A grammar over a vocabulary, which choices of many requests may share. What matching learns (states, masks) is kept
// in it, bounded by the limits, behind its own locks. Any thread. The members of its constraints throw Error kLimit for
// a text whose matching alone goes beyond the limits.
class CompiledGrammar : public ConstraintSource {
 public:
  virtual size_t memory_bytes() const = 0;
};

// The grammar of a specification. Throws Error: kInvalidArgument with the place (a JSON pointer into a schema, a line
// of a GBNF text), kUnsupported for a keyword that Quire does not know, kLimit beyond the limits.
std::shared_ptr<const Grammar> parse_grammar(const GrammarSpec& spec, const GrammarLimits& limits = {});
std::shared_ptr<const CompiledGrammar> compile_grammar(std::shared_ptr<const Grammar> grammar,
                                                       std::shared_ptr<const GrammarVocabulary> vocabulary,
                                                       const GrammarLimits& limits = {});

}  // namespace quire
