#include "server/answers/tool_choice.h"

#include <algorithm>

#include "base/error.h"
#include "dialogue/tool_grammar.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

constexpr std::string_view kToolsPath = "tools";  // of the grammar of calls

bool is_forced(const ApiRequest& request) {
  return request.tool_choice == ToolChoice::kRequired || request.tool_choice == ToolChoice::kNamed;
}

bool needs_grammar(const ApiRequest& request) {
  return may_call(request) &&
         (is_forced(request) || request.grammar ||
          std::any_of(request.tools.begin(), request.tools.end(), [](const Tool& tool) { return tool.is_strict; }));
}

// Of the content of an answer that may instead call tools.
json::value content_schema(const ApiRequest& request) {
  const GrammarSpec& spec = *request.grammar;
  if (spec.kind == GrammarKind::kJsonObject) return json::object{{"type", "object"}};
  if (spec.kind == GrammarKind::kJsonSchema) {
    try {
      return parse_json(spec.text, "the schema of the answer");
    } catch (const Error& error) {
      refuse_field(request.grammar_path, error.what());
    }
  }
  refuse_unsupported("tools", fmt::format("'tools' do not go together with '{}', which no call fits; leave out one of "
                                          "them, or give \"tool_choice\": \"required\" or \"none\"",
                                          request.grammar_path));
}

}  // namespace

bool may_call(const ApiRequest& request) { return !request.tools.empty() && request.tool_choice != ToolChoice::kNone; }

const ToolFormat& call_format(const TextProcessor& text, const ApiRequest& request) {
  const ToolFormat& own = text.tool_format();
  return own.writing.is_known() || !needs_grammar(request) ? own : generic_tool_format();
}

void constrain_calls(const TextProcessor& text, ApiRequest& request) {
  if (!needs_grammar(request)) return;
  CallRules rules{.is_required = is_forced(request), .is_parallel = request.parallel_tool_calls};
  std::vector<Tool> tools = request.tools;
  if (request.tool_choice == ToolChoice::kNamed) {
    std::erase_if(tools, [&](const Tool& tool) { return tool.name != request.tool_name; });
    rules.is_parallel = false;
  }
  if (!rules.is_required && request.grammar) rules.content_schema = content_schema(request);
  request.grammar = {.kind = GrammarKind::kStructuralTag,
                     .text = call_structure(call_format(text, request), tools, rules)};
  request.grammar_path = kToolsPath;
}

bool opens_content(const TextProcessor& text, const ApiRequest& request) {
  return request.grammar_path == kToolsPath && !call_format(text, request).writing.before_content.empty();
}

}  // namespace quire
