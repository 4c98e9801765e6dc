#include "dialogue/tool_grammar.h"

namespace quire {
namespace {

json::object constant(std::string_view text) { return {{"type", "const_string"}, {"value", text}}; }

json::value schema_of(const Tool& tool) {
  if (!tool.parameters.empty()) return tool.parameters;
  return json::object{{"type", "object"}, {"additionalProperties", false}};
}

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const std::string_view part : parts) out += part;
  return out;
}

json::object tag(const std::string& begin, json::value schema, const std::string& end) {
  return {{"type", "tag"},
          {"begin", begin},
          {"content", json::object{{"type", "json_schema"}, {"json_schema", std::move(schema)}}},
          {"end", end}};
}

json::object required_calls(const CallWriting& writing, std::span<const Tool> tools, bool is_single) {
  json::array tags;
  for (const Tool& tool : tools) {
    tags.push_back(tag(joined({writing.before_name, tool.name, writing.before_arguments}), schema_of(tool),
                       std::string(writing.after_arguments)));
  }
  const json::object calls = {{"type", "tags_with_separator"},
                              {"tags", std::move(tags)},
                              {"separator", writing.between},
                              {"at_least_one", true},
                              {"stop_after_first", is_single}};
  json::array elements;
  if (!writing.begin.empty()) elements.push_back(constant(writing.begin));
  elements.push_back(calls);
  if (!writing.end.empty()) elements.push_back(constant(writing.end));
  return {{"type", "sequence"}, {"elements", std::move(elements)}};
}

json::object calls_within_text(const CallWriting& writing, std::span<const Tool> tools, bool is_single) {
  json::array tags;
  for (const Tool& tool : tools) {
    json::value schema = tool.is_strict ? schema_of(tool) : json::object{{"type", "object"}};
    tags.push_back(tag(joined({writing.begin, writing.before_name, tool.name, writing.before_arguments}),
                       std::move(schema), joined({writing.after_arguments, writing.end})));
  }
  return {{"type", "triggered_tags"},
          {"triggers", json::array{json::value(writing.trigger)}},
          {"tags", std::move(tags)},
          {"stop_after_first", is_single}};
}

json::object content_of(const CallWriting& writing, json::object format) {
  if (writing.before_content.empty()) return format;
  return {{"type", "sequence"},
          {"elements", json::array{constant(writing.before_content), json::value(std::move(format))}}};
}

json::object either(json::object one, json::object other) {
  return {{"type", "or"}, {"elements", json::array{json::value(std::move(one)), json::value(std::move(other))}}};
}

}  // namespace

std::string call_structure(const ToolFormat& format, std::span<const Tool> tools, const CallRules& rules) {
  const CallWriting& writing = format.writing;
  const bool is_single = !rules.is_parallel || !writing.may_repeat;
  const bool is_either = rules.content_schema || !writing.before_content.empty();
  json::object form = rules.is_required || is_either ? required_calls(writing, tools, is_single)
                                                     : calls_within_text(writing, tools, is_single);
  if (is_either && !rules.is_required) {
    json::object content = {{"type", "any_text"}};
    if (rules.content_schema) content = {{"type", "json_schema"}, {"json_schema", *rules.content_schema}};
    form = either(content_of(writing, std::move(content)), std::move(form));
  }
  return json::serialize(json::object{{"type", "structural_tag"}, {"format", std::move(form)}});
}

}  // namespace quire
