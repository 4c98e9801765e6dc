// The content of messages in the form that a chat template handles. Pure functions, any thread.
#pragma once

#include "base/json.h"
#include "jinja/chat_template.h"

namespace quire {

// `messages`: objects whose content is a string, a list of {"type": "text", "text": ...}, or null. A template that
// walks parts gets parts, another one gets them as lines of one text; null stays null for a template that handles it,
// for others it is an empty text.
json::array fit_content(json::array messages, const ChatTemplate& by);

}  // namespace quire
