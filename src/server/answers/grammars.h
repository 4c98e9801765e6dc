// From the form that a request gives its answer to the constraint that the engine keeps to.
#pragma once

#include <memory>
#include <string>

#include "grammar/grammar_cache.h"
#include "server/limits.h"
#include "server/schema/api_request.h"
#include "server/served_models.h"

namespace quire {

GrammarLimits grammar_limits(const Limits& limits);

// Of a served model, whose engine and text it uses.
std::unique_ptr<GrammarCache> make_grammars(const ServedModel& model, const Limits& limits);

// Null when the answer may have any form. `reasoning_end`: the text or special token after which the answer begins, for
// a request whose model thinks first; else empty. Throws ApiError for a grammar that cannot be kept to. Compiles, so a
// worker's work.
std::shared_ptr<const ConstraintSource> constraint_of(const ServedModel& model, const ApiRequest& request,
                                                      std::string reasoning_end);

}  // namespace quire
