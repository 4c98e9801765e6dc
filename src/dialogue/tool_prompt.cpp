#include "dialogue/tool_prompt.h"

#include <string>
#include <utility>

#include "base/error.h"
#include "dialogue/message_content.h"

namespace quire {
namespace {

std::string call_text(const CallWriting& writing, std::string_view name, std::string_view arguments) {
  std::string out;
  for (const std::string_view part :
       {writing.before_name, name, writing.before_arguments, arguments, writing.after_arguments}) {
    out += part;
  }
  return out;
}

std::string description(std::span<const Tool> tools, const CallWriting& writing) {
  std::string out =
      "# Tools\n\nYou can call functions. Each has a name and takes its arguments as one JSON object, which follows a "
      "JSON Schema:\n";
  for (const json::value& tool : tools_as_json(tools)) out += "\n" + json::serialize(tool.at("function"));
  out += "\n\nTo call a function, write this and nothing after it:\n\n";
  out += writing.begin;
  out += call_text(writing, "the function's name", R"({"an argument": "its value"})");
  out += writing.end;
  out +=
      "\n\nThe result comes in the next message, between <tool_response> and </tool_response>. If no function helps, "
      "answer in plain words.";
  return out;
}

void add_text(json::value& content, const std::string& text, bool in_front) {
  if (content.is_array()) {
    json::array& parts = content.get_array();
    parts.insert(in_front ? parts.begin() : parts.end(), json::object{{"type", "text"}, {"text", text}});
    return;
  }
  const std::string old = content.is_string() ? std::string(content.get_string()) : "";
  const char* const between = old.empty() ? "" : "\n\n";
  content = in_front ? text + between + old : old + between + text;
}

// Some templates refuse a system message, some drop it.
bool shows_system_message(const ChatTemplate& by) {
  constexpr const char* kMark = "QuireSystemMessage";
  const json::array messages = {json::object{{"role", "system"}, {"content", kMark}},
                                json::object{{"role", "user"}, {"content", "a"}}};
  try {
    json::object context = chat_context(fit_content(messages, by), nullptr, nullptr, true);
    for (const char* name : {"bos_token", "eos_token"}) context[name] = "";
    return by.render(context).text.find(kMark) != std::string::npos;
  } catch (const Error&) {
    return false;
  }
}

void calls_to_text(json::object& message, const CallWriting& writing) {
  json::value* calls = message.if_contains("tool_calls");
  if (calls == nullptr || !calls->is_array() || calls->get_array().empty()) return;
  std::string text{writing.begin};
  bool is_first = true;
  for (const json::value& call : calls->get_array()) {
    const json::value* function = call.is_object() ? call.get_object().if_contains("function") : nullptr;
    if (function == nullptr || !function->is_object()) continue;
    const json::value* name = function->get_object().if_contains("name");
    const json::value* arguments = function->get_object().if_contains("arguments");
    if (name == nullptr || !name->is_string()) continue;
    if (!std::exchange(is_first, false)) text += writing.between;
    text += call_text(writing, name->get_string(), arguments == nullptr ? "{}" : json::serialize(*arguments));
  }
  add_text(message["content"], text + std::string(writing.end), /*in_front=*/false);
  message.erase("tool_calls");
}

// Results that follow each other become one message of the user.
json::array results_to_text(json::array messages) {
  json::array out;
  bool follows_result = false;
  for (json::value& message : messages) {
    const bool is_result = message.is_object() && message.at("role") == "tool";
    if (!is_result) {
      follows_result = false;
      out.push_back(std::move(message));
      continue;
    }
    const json::value& content = message.at("content");
    std::string text;
    if (content.is_string()) text = content.get_string();
    if (content.is_array()) {
      for (const json::value& part : content.get_array()) text += part.at("text").get_string();
    }
    text = "<tool_response>\n" + text + "\n</tool_response>";
    if (std::exchange(follows_result, true)) {
      add_text(out.back().get_object()["content"], text, /*in_front=*/false);
    } else {
      out.push_back(json::object{{"role", "user"}, {"content", text}});
    }
  }
  return out;
}

}  // namespace

json::array tools_as_json(std::span<const Tool> tools) {
  json::array out;
  for (const Tool& tool : tools) {
    json::object function{{"name", tool.name}};
    if (!tool.description.empty()) function["description"] = tool.description;
    function["parameters"] =
        tool.parameters.empty() ? json::object{{"type", "object"}, {"properties", json::object()}} : tool.parameters;
    out.push_back(json::object{{"type", "function"}, {"function", std::move(function)}});
  }
  return out;
}

bool tells_tools(const ChatTemplate& by, const ToolFormat& format) {
  return by.uses("tools") && &format != &generic_tool_format();
}

json::array describe_tools(json::array messages, std::span<const Tool> tools, const ChatTemplate& by,
                           const ToolFormat& format) {
  const CallWriting& writing = (format.writing.is_known() ? format : generic_tool_format()).writing;
  if (!tools.empty() || !by.reads_field("tool_calls")) {
    for (json::value& message : messages) {
      if (message.is_object()) calls_to_text(message.get_object(), writing);
    }
    messages = results_to_text(std::move(messages));
  }
  if (tools.empty() || messages.empty()) return messages;
  json::object& first = messages.front().as_object();
  const std::string text = description(tools, writing);
  if (first.at("role") == "system") {
    add_text(first["content"], text, /*in_front=*/false);
  } else if (shows_system_message(by)) {
    messages.insert(messages.begin(), json::object{{"role", "system"}, {"content", text}});
  } else {
    add_text(first["content"], text, /*in_front=*/true);
  }
  return messages;
}

}  // namespace quire
