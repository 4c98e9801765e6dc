#include "server/apis/openai_responses/items.h"

#include <map>
#include <utility>

#include "server/schema/field_error.h"
#include "server/schema/grammar_fields.h"
#include "server/schema/prompt_fields.h"

namespace quire::responses {
namespace {

std::string_view string_member(const std::string& path, const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) {
    refuse_value(at(path, key), "a string", value == nullptr ? json::value() : *value);
  }
  return value->get_string();
}

// A string or a list of parts with text: one text, or a list of text parts.
json::value read_content(const std::string& path, const json::value& value) {
  if (value.is_string()) return value;
  if (!value.is_array()) refuse_value(path, "a string or a list of parts", value);
  json::array parts;
  const json::array& given = value.get_array();
  for (size_t i = 0; i < given.size(); ++i) {
    const std::string part_path = at(path, i);
    if (!given[i].is_object())
      refuse_value(part_path, R"(a part such as {"type": "input_text", "text": "..."})", given[i]);
    const json::object& part = given[i].get_object();
    const std::string_view type = string_member(part_path, part, "type");
    const bool is_text = type == "input_text" || type == "output_text" || type == "text" || type == "summary_text" ||
                         type == "reasoning_text";
    if (!is_text && type != "refusal") {
      refuse_unsupported(at(part_path, "type"), fmt::format("'{}' is {}: this server reads parts with text only",
                                                            at(part_path, "type"), describe_value(part.at("type"))));
    }
    parts.push_back(json::object{{"type", "text"}, {"text", string_member(part_path, part, is_text ? "text" : type)}});
  }
  if (parts.empty()) return "";
  if (parts.size() == 1) return std::move(parts[0].get_object()["text"]);
  return parts;
}

std::string joined(const json::value& content) {
  if (content.is_string()) return std::string(content.get_string());
  std::string text;
  for (const json::value& part : content.get_array()) text += part.at("text").get_string();
  return text;
}

class Items {
 public:
  Items(json::array& out, const ParseContext& context) : out_(out), context_(context) {}

  void add(const std::string& path, const json::value& value) {
    if (!value.is_object()) refuse_value(path, "an item, an object", value);
    const json::object& item = value.get_object();
    const json::value* const named = find_member(item, "type");
    const std::string_view type = named == nullptr ? "message" : string_member(path, item, "type");
    if (type == "message") return add_message(path, item);
    if (type == "function_call") return add_call(path, item);
    if (type == "function_call_output") return add_result(path, item);
    if (type == "reasoning") return add_reasoning(path, item);
    refuse_unsupported(at(path, "type"), fmt::format("'{}' is {}: this server reads items of message, function_call, "
                                                     "function_call_output and reasoning",
                                                     at(path, "type"), describe_value(*named)));
  }

 private:
  void add_message(const std::string& path, const json::object& item) {
    std::string_view role = string_member(path, item, "role");
    if (role == "developer") role = "system";
    if (role != "user" && role != "system" && role != "assistant") {
      refuse_value(at(path, "role"), "one of user, assistant, system, developer", item.at("role"));
    }
    const json::value* const content = item.if_contains("content");
    json::object message{{"role", role},
                         {"content", read_content(at(path, "content"), content == nullptr ? json::value() : *content)}};
    if (role == "assistant") take_reasoning(message);
    out_.push_back(std::move(message));
  }

  // Calls follow the message of the same turn, or stand alone.
  void add_call(const std::string& path, const json::object& item) {
    const std::string_view id = string_member(path, item, "call_id");
    const std::string_view name = string_member(path, item, "name");
    const json::value arguments = read_call_arguments(string_member(path, item, "arguments"), context_.limits);
    names_[std::string(id)] = name;
    if (out_.empty() || out_.back().at("role") != "assistant") {
      out_.push_back(json::object{{"role", "assistant"}, {"content", nullptr}});
    }
    take_reasoning(out_.back().get_object());
    json::value& calls = out_.back().get_object()["tool_calls"];
    if (!calls.is_array()) calls = json::array();
    calls.get_array().push_back(
        json::object{{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}});
  }

  void add_result(const std::string& path, const json::object& item) {
    const std::string id(string_member(path, item, "call_id"));
    const json::value* const output = item.if_contains("output");
    json::object message{{"role", "tool"}, {"tool_call_id", id}};
    if (const auto called = names_.find(id); called != names_.end()) message["name"] = called->second;
    message["content"] = read_content(at(path, "output"), output == nullptr ? json::value() : *output);
    out_.push_back(std::move(message));
  }

  // Belongs to the assistant's next item, and with that to its message. A summary is no part of what the model thought.
  void add_reasoning(const std::string& path, const json::object& item) {
    const json::value* const content = find_member(item, "content");
    if (content != nullptr) reasoning_ += joined(read_content(at(path, "content"), *content));
  }

  void take_reasoning(json::object& message) {
    if (reasoning_.empty()) return;
    json::value& all = message["reasoning_content"];
    all = (all.is_string() ? std::string(all.get_string()) : std::string()) + std::exchange(reasoning_, {});
  }

  json::array& out_;
  const ParseContext& context_;
  std::string reasoning_;
  std::map<std::string, std::string, std::less<>> names_;  // of functions, by the id of the call
};

}  // namespace

void read_instructions(ApiRequest& out, const json::value& value) {
  out.echoed["instructions"] = value;
  out.messages.push_back(json::object{{"role", "system"}, {"content", value}});
}

void read_input(ApiRequest& out, const json::value& value, const ParseContext& context) {
  if (value.is_string()) {
    out.messages.push_back(json::object{{"role", "user"}, {"content", value}});
    out.input_items = {json::object{{"type", "message"},
                                    {"role", "user"},
                                    {"content", json::array{json::object{{"type", "input_text"}, {"text", value}}}}}};
    return;
  }
  if (!value.is_array()) refuse_value("input", "a string or a list of items", value);
  const json::array& list = value.get_array();
  const auto most = static_cast<size_t>(context.limits.messages);
  if (list.size() > most) {
    refuse_field("input", fmt::format("'input' holds {} items, at most {} are allowed", list.size(), most));
  }
  Items items(out.messages, context);
  for (size_t i = 0; i < list.size(); ++i) items.add(at("input", i), list[i]);
  out.input_items = list;
}

void read_tools(ApiRequest& out, const json::value& value, const ParseContext& context) {
  out.tools = quire::read_tools(value, context, {.place = ""});
  json::array echoed;
  for (const Tool& tool : out.tools) {
    echoed.push_back(json::object{{"type", "function"},
                                  {"name", tool.name},
                                  {"description", tool.description},
                                  {"parameters", tool.parameters},
                                  {"strict", tool.is_strict}});
  }
  out.echoed["tools"] = std::move(echoed);
}

void read_format(ApiRequest& out, const json::value& value, const ParseContext& context) {
  const std::string path = "text.format";
  if (!value.is_object()) refuse_value(path, R"(an object such as {"type": "text"})", value);
  const json::object& format = value.get_object();
  const std::string_view type = string_member(path, format, "type");
  if (type == "json_object") {
    set_grammar(out, path, GrammarKind::kJsonObject, "");
  } else if (type == "json_schema") {
    const json::value* const schema = find_member(format, "schema");
    if (schema == nullptr || !schema->is_object()) {
      refuse_value("text.format.schema", "a JSON Schema, an object", schema == nullptr ? json::value() : *schema);
    }
    read_schema(out, "text.format.schema", *schema, context);
  } else if (type != "text") {
    refuse_value("text.format.type", "one of text, json_object, json_schema", format.at("type"));
  }
  out.echoed["text"] = json::object{{"format", format}};
}

void read_include(ApiRequest& out, const json::value& value) {
  if (!value.is_array()) refuse_value("include", "a list of strings", value);
  const json::array& list = value.get_array();
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_string()) refuse_value(at("include", i), "a string", list[i]);
    if (list[i] == "message.output_text.logprobs") out.logprobs = true;
  }
}

}  // namespace quire::responses
