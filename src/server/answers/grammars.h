// From the form that a request gives its answer to the constraint that the engine keeps to.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "grammar/grammar_cache.h"
#include "server/limits.h"
#include "server/schema/api_request.h"
#include "server/served_models.h"

namespace quire {

GrammarLimits grammar_limits(const Limits& limits);

// Of a served model, whose engine and text it uses.
std::unique_ptr<GrammarCache> make_grammars(const ServedModel& model, const Limits& limits);

// The marks of what a model thinks before its answer begins. Without a begin mark the prompt has it; without both there
// is no reasoning.
struct ReasoningMarks {
  std::string begin = {};
  std::string end = {};
  std::string next = {};     // what stands between the end and the next message
  std::string opening = {};  // what stands before the answer's text
};

// Nothing when the answer may have any form. `any_order`: of the properties of objects, where the request does not say.
std::optional<GrammarSpec> grammar_of(const ApiRequest& request, ReasoningMarks reasoning, bool any_order);

// Of a grammar that was compiled before; null when it must be compiled.
std::shared_ptr<const ConstraintSource> find_form(const ServedModel& model, const GrammarSpec& spec);

// Compiles, unless that was done meanwhile. Throws ApiError, which names the field `path` of the request, for a grammar
// that cannot be kept to.
std::shared_ptr<const ConstraintSource> compile_form(const ServedModel& model, const GrammarSpec& spec,
                                                     const std::string& path);

}  // namespace quire
