#include "dialogue/message_content.h"

#include <string>
#include <utility>

namespace quire {
namespace {

json::string as_lines(const json::array& parts) {
  json::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += '\n';
    text += parts[i].at("text").as_string();
  }
  return text;
}

}  // namespace

json::array fit_content(json::array messages, const ChatTemplate& by) {
  const ContentStyle style = by.content_style();
  for (json::value& message : messages) {
    if (!message.is_object()) continue;
    json::value& content = message.get_object()["content"];
    if (content.is_null()) {
      if (by.handles_null_content()) continue;
      content = "";
    }
    if (content.is_array() && style == ContentStyle::kText) content = as_lines(content.get_array());
    if (content.is_string() && style == ContentStyle::kParts) {
      content = json::array{json::object{{"type", "text"}, {"text", std::move(content)}}};
    }
  }
  return messages;
}

}  // namespace quire
