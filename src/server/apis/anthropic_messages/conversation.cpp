#include "server/apis/anthropic_messages/conversation.h"

#include <map>
#include <optional>

#include "server/apis/anthropic_messages/client_markers.h"
#include "server/schema/field_error.h"
#include "server/schema/grammar_fields.h"

namespace quire::anthropic {
namespace {

// A member that has to be a string.
std::string_view string_member(const std::string& path, const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) {
    refuse_value(at(path, key), "a string", value == nullptr ? json::value() : *value);
  }
  return value->get_string();
}

const json::object& block_at(const std::string& path, const json::value& value) {
  if (!value.is_object()) refuse_value(path, R"(a block such as {"type": "text", "text": "..."})", value);
  return value.get_object();
}

[[noreturn]] void refuse_block(const std::string& path, std::string_view type, std::string_view known) {
  refuse_unsupported(at(path, "type"), fmt::format("'{}' is {}: this server reads blocks of {} here", at(path, "type"),
                                                   describe_value(json::value(json::string(type))), known));
}

// One text, or a list of text parts.
json::value content_of(json::array parts) {
  if (parts.size() == 1) return std::move(parts[0].get_object()["text"]);
  return parts;
}

void add_text(json::array& parts, std::string_view text) {
  parts.push_back(json::object{{"type", "text"}, {"text", text}});
}

// A string or text blocks, as in system prompts and results of tools. Empty texts are left out.
json::array text_parts(const std::string& path, const json::value& value, bool drop_markers) {
  json::array parts;
  const auto add = [&](std::string_view text) {
    const std::string kept = drop_markers ? without_client_markers(text) : std::string(text);
    if (!kept.empty()) add_text(parts, kept);
  };
  if (value.is_string()) {
    add(value.get_string());
    return parts;
  }
  if (!value.is_array()) refuse_value(path, "a string or a list of text blocks", value);
  const json::array& blocks = value.get_array();
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string block_path = at(path, i);
    const json::object& block = block_at(block_path, blocks[i]);
    const std::string_view type = string_member(block_path, block, "type");
    if (type != "text") refuse_block(block_path, type, "text");
    add(string_member(block_path, block, "text"));
  }
  return parts;
}

class Conversation {
 public:
  Conversation(json::array& out, const ParseContext& context) : out_(out), context_(context) {}

  void add(const std::string& path, const json::value& value) {
    if (!value.is_object()) refuse_value(path, "an object with role and content", value);
    const json::object& message = value.get_object();
    const std::string_view role = string_member(path, message, "role");
    const json::value* const content = message.if_contains("content");
    const std::string content_path = at(path, "content");
    if (content == nullptr) refuse_value(content_path, "a string or a list of blocks", json::value());
    if (role == "user") {
      add_user(content_path, *content);
    } else if (role == "assistant") {
      add_assistant(content_path, *content);
    } else if (role == "system") {
      json::array parts = text_parts(content_path, *content, context_.drop_client_markers);
      if (!parts.empty()) push("system", std::move(parts));
    } else {
      refuse_value(at(path, "role"), "one of user, assistant, system", *message.if_contains("role"));
    }
  }

 private:
  void push(std::string_view role, json::array parts) {
    out_.push_back(json::object{{"role", role}, {"content", content_of(std::move(parts))}});
  }

  // Results of tools are messages of their own; text between them stays in its place.
  void add_user(const std::string& path, const json::value& content) {
    if (content.is_string()) {
      out_.push_back(json::object{{"role", "user"}, {"content", content}});
      return;
    }
    if (!content.is_array()) refuse_value(path, "a string or a list of blocks", content);
    json::array parts;
    const auto flush = [&] {
      if (!parts.empty()) push("user", std::exchange(parts, {}));
    };
    const json::array& blocks = content.get_array();
    for (size_t i = 0; i < blocks.size(); ++i) {
      const std::string block_path = at(path, i);
      const json::object& block = block_at(block_path, blocks[i]);
      const std::string_view type = string_member(block_path, block, "type");
      if (type == "text") {
        add_text(parts, string_member(block_path, block, "text"));
      } else if (type == "tool_result") {
        flush();
        add_result(block_path, block);
      } else {
        refuse_block(block_path, type, "text and tool_result");
      }
    }
    if (blocks.empty()) add_text(parts, "");
    flush();
  }

  void add_result(const std::string& path, const json::object& block) {
    const std::string id(string_member(path, block, "tool_use_id"));
    json::object message{{"role", "tool"}, {"tool_call_id", id}};
    if (const auto called = tool_names_.find(id); called != tool_names_.end()) message["name"] = called->second;
    const json::value* const content = find_member(block, "content");
    json::array parts = content == nullptr ? json::array() : text_parts(at(path, "content"), *content, false);
    // Chat has no other place for it.
    const json::value* const is_error = find_member(block, "is_error");
    if (is_error != nullptr && is_error->is_bool() && is_error->get_bool()) {
      parts.insert(parts.begin(), json::object{{"type", "text"}, {"text", parts.empty() ? "Error" : "Error: "}});
    }
    message["content"] = parts.empty() ? json::value("") : content_of(std::move(parts));
    out_.push_back(std::move(message));
  }

  void add_assistant(const std::string& path, const json::value& content) {
    json::object message{{"role", "assistant"}, {"content", nullptr}};
    if (content.is_string()) {
      message["content"] = content;
    } else if (content.is_array()) {
      add_blocks(path, content.get_array(), message);
    } else {
      refuse_value(path, "a string or a list of blocks", content);
    }
    out_.push_back(std::move(message));
  }

  void add_blocks(const std::string& path, const json::array& blocks, json::object& message) {
    json::array parts;
    json::array calls;
    std::string thinking;
    for (size_t i = 0; i < blocks.size(); ++i) {
      const std::string block_path = at(path, i);
      const json::object& block = block_at(block_path, blocks[i]);
      const std::string_view type = string_member(block_path, block, "type");
      if (type == "text") {
        add_text(parts, string_member(block_path, block, "text"));
      } else if (type == "thinking") {
        thinking += string_member(block_path, block, "thinking");
      } else if (type == "tool_use") {
        calls.push_back(call_of(block_path, block));
      } else if (type != "redacted_thinking") {
        refuse_block(block_path, type, "text, thinking, redacted_thinking and tool_use");
      }
    }
    if (!parts.empty()) {
      message["content"] = content_of(std::move(parts));
    } else if (calls.empty() && message["content"].is_null()) {
      message["content"] = "";
    }
    if (!thinking.empty()) message["reasoning_content"] = thinking;
    if (!calls.empty()) message["tool_calls"] = std::move(calls);
  }

  json::object call_of(const std::string& path, const json::object& block) {
    const std::string_view id = string_member(path, block, "id");
    const std::string_view name = string_member(path, block, "name");
    const json::value* const input = find_member(block, "input");
    if (input != nullptr && !input->is_object()) refuse_value(at(path, "input"), "an object", *input);
    tool_names_[std::string(id)] = name;
    return {{"id", id},
            {"type", "function"},
            {"function", {{"name", name}, {"arguments", input == nullptr ? json::value(json::object()) : *input}}}};
  }

  json::array& out_;
  const ParseContext& context_;
  std::map<std::string, std::string, std::less<>> tool_names_;  // by the id of the call
};

}  // namespace

void read_system(ApiRequest& out, const json::value& value, const ParseContext& context) {
  json::array parts = text_parts("system", value, context.drop_client_markers);
  if (!parts.empty()) {
    out.messages.push_back(json::object{{"role", "system"}, {"content", content_of(std::move(parts))}});
  }
}

void read_messages(ApiRequest& out, const json::value& value, const ParseContext& context) {
  if (!value.is_array()) refuse_value("messages", "a list of messages", value);
  const json::array& list = value.get_array();
  if (list.empty()) refuse_field("messages", "'messages' is empty; give at least one message");
  Conversation conversation(out.messages, context);
  for (size_t i = 0; i < list.size(); ++i) conversation.add(at("messages", i), list[i]);
  const auto most = static_cast<size_t>(context.limits.messages);
  if (std::max(list.size(), out.messages.size()) > most) {
    refuse_field("messages", fmt::format("'messages' makes {} messages, counting the system prompt and every result of "
                                         "a tool; at most {} are allowed",
                                         std::max(list.size(), out.messages.size()), most));
  }
  if (out.messages.empty()) refuse_field("messages", "'messages' holds no text; give at least one message with text");
  const json::object& last = out.messages.back().get_object();
  if (last.at("role") != "assistant") return;
  if (last.contains("tool_calls")) {
    refuse_field("messages", "'messages' ends with tool_use blocks; add a message with their tool_result blocks");
  }
  out.continue_final_message = true;
  out.add_generation_prompt = false;
}

void read_tool_choice(ApiRequest& out, const json::value& value) {
  if (!value.is_object()) refuse_value("tool_choice", R"(an object such as {"type": "auto"})", value);
  const json::object& choice = value.get_object();
  const std::string_view type = string_member("tool_choice", choice, "type");
  if (type == "auto") {
    out.tool_choice = ToolChoice::kAuto;
  } else if (type == "any") {
    out.tool_choice = ToolChoice::kRequired;
  } else if (type == "none") {
    out.tool_choice = ToolChoice::kNone;
  } else if (type == "tool") {
    out.tool_choice = ToolChoice::kNamed;
    out.tool_name = string_member("tool_choice", choice, "name");
  } else {
    refuse_value("tool_choice.type", "one of auto, any, tool, none", choice.at("type"));
  }
  if (const json::value* one = find_member(choice, "disable_parallel_tool_use")) {
    if (!one->is_bool()) refuse_value("tool_choice.disable_parallel_tool_use", "true or false", *one);
    out.parallel_tool_calls = !one->get_bool();
  }
}

void read_format(ApiRequest& out, const std::string& path, const json::value& value, const ParseContext& context) {
  if (!value.is_object()) refuse_value(path, R"(an object such as {"type": "json_schema", "schema": {}})", value);
  const json::object& format = value.get_object();
  const std::string_view type = string_member(path, format, "type");
  if (type != "json_schema") refuse_value(at(path, "type"), "\"json_schema\"", format.at("type"));
  const json::value* const schema = find_member(format, "schema");
  if (schema == nullptr || !schema->is_object()) {
    refuse_value(at(path, "schema"), "a JSON Schema, an object", schema == nullptr ? json::value() : *schema);
  }
  read_schema(out, at(path, "schema"), *schema, context);
}

}  // namespace quire::anthropic
