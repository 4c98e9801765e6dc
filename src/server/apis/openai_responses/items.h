// The items of /v1/responses, turned into the messages of chat, which the dialogue renders. Each throws ApiError naming
// the path. Pure functions, any thread.
#pragma once

#include "server/schema/fields.h"

namespace quire::responses {

// The field `instructions`: a first message with the role system.
void read_instructions(ApiRequest& out, const json::value& value);
// The field `input`, a string or items: added to the messages, and kept as items.
void read_input(ApiRequest& out, const json::value& value, const ParseContext& context);
void read_tools(ApiRequest& out, const json::value& value, const ParseContext& context);
// The field text.format.
void read_format(ApiRequest& out, const json::value& value, const ParseContext& context);
void read_include(ApiRequest& out, const json::value& value);

}  // namespace quire::responses
