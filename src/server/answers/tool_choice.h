// What a request's tools mean for its answer: the format of calls, and the grammar that keeps the answer to them.
#pragma once

#include "dialogue/text_processor.h"
#include "dialogue/tool_formats/tool_format.h"
#include "server/schema/api_request.h"

namespace quire {

// Whether the model may call tools.
bool may_call(const ApiRequest& request);
// Calls are read in the model's own format; in the generic one where a grammar must force calls and cannot in its own.
const ToolFormat& call_format(const TextProcessor& text, const ApiRequest& request);
// Gives the request the grammar that tool_choice and strict tools ask for. Throws ApiError for a request that also
// wants a form that does not go together with tools.
void constrain_calls(const TextProcessor& text, ApiRequest& request);
// Whether the request's grammar is one of calls that itself has what stands before content.
bool opens_content(const TextProcessor& text, const ApiRequest& request);

}  // namespace quire
