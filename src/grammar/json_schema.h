// JSON Schema (drafts 4 to 2020-12) as a grammar of the JSON texts that are valid.
#pragma once

#include "base/json.h"
#include "grammar/grammar.h"

namespace quire {

struct JsonForm {
  // Between tokens of JSON any whitespace may stand, as far as it stays short; else it is as Python's json.dumps writes
  // it: a space after ',' and ':'.
  bool any_whitespace = true;
  // An object's properties come in any order; else in the schema's, and others after them. Objects with more than 8
  // properties, some of which must break a rule (not, oneOf), keep the schema's.
  bool any_order = false;
};

// The symbol of all JSON texts that are valid under `schema` (an object or a bool). A keyword without a meaning for
// validity is ignored; one that is not supported is refused with Error kUnsupported, which names it by JSON pointer.
// Throws Error kInvalidArgument, with the pointer too, for a schema that is wrong or that nothing satisfies.
Symbol json_schema(GrammarBuilder& builder, const json::value& schema, const JsonForm& form = {});
// Any JSON object.
Symbol json_object(GrammarBuilder& builder, const JsonForm& form = {});

}  // namespace quire
