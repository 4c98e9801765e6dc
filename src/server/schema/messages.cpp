#include <string_view>

#include "base/error.h"
#include "server/schema/field_error.h"
#include "server/schema/prompt_fields.h"

namespace quire {
namespace {

constexpr std::string_view kRoles = "one of system, developer, user, assistant, tool, function";

bool is_role(std::string_view role) {
  return role == "system" || role == "developer" || role == "user" || role == "assistant" || role == "tool" ||
         role == "function";
}

void check_part(const std::string& path, const json::value& value) {
  if (!value.is_object()) refuse_value(path, "a part such as {\"type\": \"text\", \"text\": \"...\"}", value);
  const json::object& part = value.get_object();
  const json::value* type = part.if_contains("type");
  if (type == nullptr || !type->is_string()) {
    refuse_value(at(path, "type"), "\"text\"", type == nullptr ? json::value() : *type);
  }
  if (type->get_string() != "text") {
    refuse_unsupported(at(path, "type"), fmt::format("'{}' is {}: this model reads text parts only", at(path, "type"),
                                                     describe_value(*type)));
  }
  const json::value* text = part.if_contains("text");
  if (text == nullptr || !text->is_string()) {
    refuse_value(at(path, "text"), "a string", text == nullptr ? json::value() : *text);
  }
}

// Null where there is none. What a template makes of parts and of null is known where it is rendered.
json::value read_content(const std::string& path, const json::value* content) {
  if (content == nullptr || content->is_null()) return nullptr;
  if (content->is_string()) return *content;
  if (!content->is_array()) refuse_value(path, "a string, null, or a list of text parts", *content);
  const json::array& parts = content->get_array();
  for (size_t i = 0; i < parts.size(); ++i) check_part(at(path, i), parts[i]);
  return parts.empty() ? json::value("") : *content;
}

void open_arguments(const std::string& path, json::value& calls, const ParseContext& context) {
  if (calls.is_null()) return;
  if (!calls.is_array()) refuse_value(path, "a list of tool calls", calls);
  json::array& list = calls.get_array();
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_object()) refuse_value(at(path, i), "an object", list[i]);
    json::value* function = list[i].get_object().if_contains("function");
    if (function == nullptr) continue;
    const std::string function_path = at(at(path, i), "function");
    if (!function->is_object()) refuse_value(function_path, "an object", *function);
    json::value* arguments = function->get_object().if_contains("arguments");
    if (arguments == nullptr || !arguments->is_string()) continue;
    *arguments = read_call_arguments(std::string(arguments->get_string()), context.limits);
  }
}

// OpenAI's older form of a call and of its result: a result follows its call, and neither has an id.
void open_function_call(const std::string& path, json::object& message) {
  constexpr const char* kId = "function0";  // some templates demand nine letters or digits
  if (message.at("role") == "function") {
    message["role"] = "tool";
    message["tool_call_id"] = kId;
  }
  const json::value* const call = message.if_contains("function_call");
  if (call == nullptr) return;
  if (!call->is_null()) {
    if (!call->is_object()) refuse_value(at(path, "function_call"), "an object", *call);
    message["tool_calls"] = json::array{json::object{{"id", kId}, {"type", "function"}, {"function", *call}}};
  }
  message.erase("function_call");
}

json::object read_message(const std::string& path, const json::value& value, const ParseContext& context) {
  if (!value.is_object()) refuse_value(path, "an object with role and content", value);
  json::object message = value.get_object();
  json::value& role = message["role"];
  if (!role.is_string() || !is_role(role.get_string())) refuse_value(at(path, "role"), kRoles, role);
  if (role.get_string() == "developer") role = "system";
  message["content"] = read_content(at(path, "content"), message.if_contains("content"));
  open_function_call(path, message);
  if (json::value* calls = message.if_contains("tool_calls")) {
    open_arguments(at(path, "tool_calls"), *calls, context);
    if (calls->is_null()) message.erase("tool_calls");
  }
  return message;
}

}  // namespace

json::value read_call_arguments(std::string_view arguments, const Limits& limits) {
  try {
    json::value parsed = parse_json(arguments, "arguments", static_cast<size_t>(limits.json_depth));
    return parsed.is_object() ? parsed : json::value(json::string(arguments));
  } catch (const Error&) {
    return json::string(arguments);
  }
}

json::array read_messages(const json::value& value, const ParseContext& context) {
  if (!value.is_array()) refuse_value("messages", "a list of messages", value);
  const json::array& list = value.get_array();
  if (list.empty()) refuse_field("messages", "'messages' is empty; give at least one message");
  const auto most = static_cast<size_t>(context.limits.messages);
  if (list.size() > most) {
    refuse_field("messages", fmt::format("'messages' holds {} messages, at most {} are allowed", list.size(), most));
  }
  json::array messages;
  messages.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) messages.push_back(read_message(at("messages", i), list[i], context));
  return messages;
}

std::string read_prediction(const json::value& value) {
  if (!value.is_object())
    refuse_value("prediction", R"(an object such as {"type": "content", "content": "..."})", value);
  const json::object& object = value.get_object();
  if (const json::value* type = find_member(object, "type"); type != nullptr && *type != "content") {
    refuse_unsupported("prediction.type", fmt::format("'prediction.type' is {}: this server knows only \"content\"",
                                                      describe_value(*type)));
  }
  const json::value read = read_content("prediction.content", object.if_contains("content"));
  if (read.is_null()) refuse_field("prediction.content", "'prediction.content' is missing; give the expected answer");
  if (read.is_string()) return std::string(read.get_string());
  std::string text;
  for (const json::value& part : read.get_array()) text += part.at("text").get_string();
  return text;
}

void read_template_variables(ApiRequest& out, const json::value& value) {
  if (!value.is_object()) refuse_value("chat_template_kwargs", "an object", value);
  for (const auto& [key, variable] : value.get_object()) {
    if (key == "messages" || key == "tools") {
      const std::string path = at("chat_template_kwargs", std::string_view(key));
      refuse_field(
          path, fmt::format("'{}' is not allowed: give '{}' as a field of the request", path, std::string_view(key)));
    }
    out.template_variables[key] = variable;
  }
}

}  // namespace quire
