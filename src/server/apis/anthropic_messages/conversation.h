// Conversations as Anthropic's clients write them, turned into those of OpenAI's chat, which the dialogue
// renders. Each throws ApiError naming the path. Pure functions, any thread.
#pragma once

#include "server/schema/fields.h"

namespace quire::anthropic {

// The field `system`, a string or text blocks: a first message with the role system, unless it is empty.
void read_system(ApiRequest& out, const json::value& value, const ParseContext& context);
// The field `messages`, added after the system prompt. Results of tools become messages with the role tool, thinking
// the `reasoning_content` of its message. A last message of the assistant is left open, so that the answer continues
// it.
void read_messages(ApiRequest& out, const json::value& value, const ParseContext& context);
void read_tool_choice(ApiRequest& out, const json::value& value);
// The field output_config.format or output_format at `path`.
void read_format(ApiRequest& out, const std::string& path, const json::value& value, const ParseContext& context);

}  // namespace quire::anthropic
