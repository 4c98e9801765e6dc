// How a model is told of tools: by its own chat template, or, where that says nothing of them or writes calls in a form
// that no format reads, in words of ours.
#pragma once

#include <span>

#include "base/json.h"
#include "dialogue/tool.h"
#include "dialogue/tool_formats/tool_format.h"
#include "jinja/chat_template.h"

namespace quire {

// OpenAI's list, which templates read.
json::array tools_as_json(std::span<const Tool> tools);

// Whether the template itself tells of tools, with calls in this format.
bool tells_tools(const ChatTemplate& by, const ToolFormat& format);

// The conversation for a template that does not: the first message describes the tools and the format. Earlier calls
// and their results become text, also without tools, where the template would drop them.
json::array describe_tools(json::array messages, std::span<const Tool> tools, const ChatTemplate& by,
                           const ToolFormat& format);

}  // namespace quire
