// Structural tags: free text with tags whose content has a structure, as vLLM and XGrammar describe them in JSON.
#pragma once

#include "base/json.h"
#include "grammar/json_schema.h"

namespace quire {

// A text in which special tokens may be written: each <name> and [NAME], which is its text where there is none.
Symbol marked_text(GrammarBuilder& builder, std::string_view text);

// Both forms: {"structures": [{"begin", "schema", "end"}], "triggers": [...]} and {"type": "structural_tag", "format":
// {...}}. Throws Error kInvalidArgument or kUnsupported, which names the place by JSON pointer.
Symbol structural_tag(GrammarBuilder& builder, const json::value& description, const JsonForm& form,
                      const GrammarLimits& limits);

}  // namespace quire
