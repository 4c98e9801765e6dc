// The flags that say what form an answer has: llama.cpp's --grammar, --json-schema and their files.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "apps/flags/command.h"
#include "decoding/token_constraint.h"
#include "dialogue/text_processor.h"
#include "grammar/compile.h"

namespace quire {

struct GrammarOption {
  std::string grammar;
  std::string grammar_file;
  std::string json_schema;
  std::string json_schema_file;

  void add(Command& to);
  // Nothing when no flag was given. Throws Error for two of them, a file that cannot be read, and a grammar that cannot
  // be parsed.
  std::optional<GrammarSpec> spec() const;
  // Null when no flag was given. vocab_size: of the model's logits. `text` outlives the result.
  std::shared_ptr<const ConstraintSource> constraint(const TextProcessor& text, int64_t vocab_size) const;
};

}  // namespace quire
