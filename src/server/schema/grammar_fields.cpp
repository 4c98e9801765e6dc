#include "server/schema/grammar_fields.h"

#include <algorithm>
#include <utility>

#include "server/schema/field_error.h"

namespace quire {
namespace {

constexpr std::string_view kFormat = "response_format";
constexpr std::string_view kTypes = R"("text", "json_object", "json_schema" or "structural_tag")";

void refuse_long(std::string_view path, const std::string& text, const ParseContext& context) {
  if (text.size() <= context.limits.grammar_bytes) return;
  refuse_field(std::string(path), fmt::format("'{}' has {} bytes, at most {} are allowed", path, text.size(),
                                              context.limits.grammar_bytes));
}

// OpenAI's {"json_schema": {"schema": ...}}, or {"schema": ...} as llama.cpp takes it. Without a schema: any object.
void read_json_format(ApiRequest& out, const json::object& format, const ParseContext& context) {
  if (const json::value* const named = find_member(format, "json_schema")) {
    if (!named->is_object()) refuse_value("response_format.json_schema", "an object with a schema", *named);
    if (const json::value* const schema = find_member(named->get_object(), "schema")) {
      return read_schema(out, "response_format.json_schema.schema", *schema, context);
    }
  } else if (const json::value* const schema = find_member(format, "schema")) {
    return read_schema(out, "response_format.schema", *schema, context);
  }
  set_grammar(out, kFormat, GrammarKind::kJsonObject, "");
}

}  // namespace

void set_grammar(ApiRequest& out, std::string_view path, GrammarKind kind, std::string text) {
  if (out.grammar) {
    refuse_field(std::string(path), fmt::format("'{}' and '{}' both say what form the answer has; give one of them",
                                                out.grammar_path, path));
  }
  out.grammar = GrammarSpec{.kind = kind, .text = std::move(text)};
  out.grammar_path = path;
}

void read_grammar_text(ApiRequest& out, std::string_view path, GrammarKind kind, const json::value& text) {
  if (!text.get_string().empty()) set_grammar(out, path, kind, std::string(text.get_string()));
}

void read_schema(ApiRequest& out, std::string_view path, const json::value& schema, const ParseContext& context) {
  if (!schema.is_object() && !schema.is_bool() && !schema.is_string()) {
    refuse_value(std::string(path), "a JSON Schema: an object, true or false, or the text of one", schema);
  }
  std::string text = schema.is_string() ? std::string(schema.get_string()) : json::serialize(schema);
  refuse_long(path, text, context);
  if (!text.empty()) set_grammar(out, path, GrammarKind::kJsonSchema, std::move(text));
}

void read_choice(ApiRequest& out, std::string_view path, const json::value& choice, const ParseContext& context) {
  const auto is_text = [](const json::value& each) { return each.is_string(); };
  if (!choice.is_array() || choice.get_array().empty() || !std::ranges::all_of(choice.get_array(), is_text)) {
    refuse_value(std::string(path), "a list of strings, at least one", choice);
  }
  std::string text = json::serialize(choice);
  refuse_long(path, text, context);
  set_grammar(out, path, GrammarKind::kChoice, std::move(text));
}

void read_response_format(ApiRequest& out, const json::value& format, const ParseContext& context) {
  if (!format.is_object()) refuse_value(std::string(kFormat), "an object", format);
  const json::object& members = format.get_object();
  const json::value* const type = find_member(members, "type");
  if (type == nullptr) {
    refuse_field("response_format.type", fmt::format("'response_format.type' is missing; give {}", kTypes));
  }
  if (*type == "text") return;
  if (*type == "json_object" || *type == "json_schema") return read_json_format(out, members, context);
  if (*type != "structural_tag") refuse_value("response_format.type", kTypes, *type);
  std::string text = json::serialize(format);
  refuse_long(kFormat, text, context);
  set_grammar(out, kFormat, GrammarKind::kStructuralTag, std::move(text));
}

void read_any_whitespace(ApiRequest& out, bool is_allowed) {
  if (out.grammar) out.grammar->any_whitespace = is_allowed;
}

}  // namespace quire
