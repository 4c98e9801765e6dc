// The tools of a request and which of them may be called.
#include <algorithm>
#include <cctype>
#include <set>
#include <string_view>

#include "server/schema/field_error.h"
#include "server/schema/prompt_fields.h"

namespace quire {
namespace {

constexpr size_t kMaxNameBytes = 128;
constexpr std::string_view kChoices =
    R"("none", "auto", "required" or {"type": "function", "function": {"name": "..."}})";

// Names stand between quotes and marks in what models write.
bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
  });
}

std::string read_name(const std::string& path, const json::object& from) {
  const json::value* name = from.if_contains("name");
  if (name == nullptr || !name->is_string() || !is_name(name->get_string())) {
    refuse_value(path, fmt::format("1 to {} letters, digits, '_', '-' or '.'", kMaxNameBytes),
                 name == nullptr ? json::value() : *name);
  }
  return std::string(name->get_string());
}

// Null counts as absent.
const json::value* member(const json::object& from, std::string_view key) {
  const json::value* value = from.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Tool read_tool(const std::string& path, const json::value& value, const ToolForm& form) {
  if (!value.is_object()) refuse_value(path, "an object that describes a tool", value);
  const json::object& object = value.get_object();
  const json::value* type = member(object, "type");
  if (type != nullptr && *type != json::value(json::string(form.type))) {
    refuse_unsupported(at(path, "type"), fmt::format("'{}' is {}: this server has no tools of its own, it knows only "
                                                     "\"{}\"",
                                                     at(path, "type"), describe_value(*type), form.type));
  }
  const std::string inner = form.place.empty() ? path : at(path, form.place);
  const json::value* function = form.place.empty() ? &value : member(object, form.place);
  if (function == nullptr || !function->is_object()) {
    refuse_value(inner, "an object with name, description and parameters",
                 function == nullptr ? json::value() : *function);
  }
  const json::object& from = function->get_object();
  Tool tool{.name = read_name(at(inner, "name"), from)};
  if (const json::value* description = member(from, "description")) {
    if (!description->is_string()) refuse_value(at(inner, "description"), "a string", *description);
    tool.description = std::string(description->get_string());
  }
  if (const json::value* parameters = member(from, form.parameters)) {
    if (!parameters->is_object())
      refuse_value(at(inner, form.parameters), "a JSON Schema, which is an object", *parameters);
    tool.parameters = parameters->get_object();
  }
  if (const json::value* strict = member(from, "strict")) {
    if (!strict->is_bool()) refuse_value(at(inner, "strict"), "true or false", *strict);
    tool.is_strict = strict->get_bool();
  }
  return tool;
}

}  // namespace

std::vector<Tool> read_tools(const json::value& value, const ParseContext& context, const ToolForm& form) {
  const std::string path(form.path);
  if (!value.is_array()) refuse_value(path, fmt::format("a list of {}", path), value);
  const json::array& list = value.get_array();
  const auto most = static_cast<size_t>(context.limits.tools);
  if (list.size() > most) {
    refuse_field(path, fmt::format("'{}' holds {} entries, at most {} are allowed", path, list.size(), most));
  }
  if (const size_t bytes = json::serialize(value).size(); bytes > context.limits.tools_bytes) {
    refuse_field(path,
                 fmt::format("'{}' has {} bytes, at most {} are allowed", path, bytes, context.limits.tools_bytes));
  }
  std::vector<Tool> tools;
  std::set<std::string_view> names;
  tools.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    tools.push_back(read_tool(at(path, i), list[i], form));
    if (!names.insert(tools.back().name).second) {
      refuse_field(at(path, i), fmt::format("'{}' is a second tool named {}; give each a name of its own", at(path, i),
                                            tools.back().name));
    }
  }
  return tools;
}

void read_functions(ApiRequest& out, const json::value& value, const ParseContext& context) {
  if (!out.tools.empty()) refuse_field("functions", "'functions' is an older form of 'tools'; give one of them");
  out.tools = read_tools(value, context, {.place = "", .path = "functions"});
  out.calls_functions = !out.tools.empty();
  if (out.calls_functions) out.parallel_tool_calls = false;
}

void read_function_call(ApiRequest& out, const json::value& value) {
  if (value == "none" || value == "auto") {
    out.tool_choice = value == "none" ? ToolChoice::kNone : ToolChoice::kAuto;
  } else if (value.is_object()) {
    out.tool_choice = ToolChoice::kNamed;
    out.tool_name = read_name("function_call.name", value.get_object());
  } else {
    refuse_value("function_call", R"("none", "auto" or {"name": "..."})", value);
  }
}

void read_tool_choice(ApiRequest& out, const json::value& value) {
  if (value == "none") {
    out.tool_choice = ToolChoice::kNone;
  } else if (value == "auto") {
    out.tool_choice = ToolChoice::kAuto;
  } else if (value == "required") {
    out.tool_choice = ToolChoice::kRequired;
  } else if (value.is_object() && value.get_object().contains("type") && value.get_object().at("type") == "function") {
    const json::object& object = value.get_object();
    const json::value* function = member(object, "function");
    if (function != nullptr && !function->is_object()) refuse_value("tool_choice.function", "an object", *function);
    out.tool_choice = ToolChoice::kNamed;
    out.tool_name = function != nullptr ? read_name("tool_choice.function.name", function->get_object())
                                        : read_name("tool_choice.name", object);
  } else if (value.is_object() || value.is_string()) {
    refuse_unsupported("tool_choice",
                       fmt::format("'tool_choice' is {}: this server knows {}", describe_value(value), kChoices));
  } else {
    refuse_value("tool_choice", kChoices, value);
  }
}

void check_tools(const ApiRequest& request) {
  if (request.tool_choice == ToolChoice::kRequired && request.tools.empty()) {
    refuse_field("tool_choice", "'tool_choice' is \"required\", but there are no tools; give 'tools'");
  }
  if (request.tool_choice != ToolChoice::kNamed) return;
  const bool is_there = std::any_of(request.tools.begin(), request.tools.end(),
                                    [&](const Tool& tool) { return tool.name == request.tool_name; });
  if (!is_there) {
    const bool is_older = request.calls_functions;
    const char* const field = is_older ? "function_call" : "tool_choice";
    refuse_field(field, fmt::format("'{}' names {}, which is not among the {} {}", field, request.tool_name,
                                    request.tools.size(), is_older ? "functions" : "tools"));
  }
}

}  // namespace quire
