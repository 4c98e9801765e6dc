// The fields that say what form an answer has: OpenAI's response_format, vLLM's structured_outputs and guided_*,
// llama.cpp's grammar and json_schema. Each sets ApiRequest::grammar; a second one is refused.
//
// Pure functions, any thread; each throws ApiError.
#pragma once

#include <string>
#include <string_view>

#include "server/schema/fields.h"

namespace quire {

// `path`: of the field in the request.
void set_grammar(ApiRequest& out, std::string_view path, GrammarKind kind, std::string text);
// An empty text asks for nothing.
void read_grammar_text(ApiRequest& out, std::string_view path, GrammarKind kind, const json::value& text);
// A JSON Schema, or its text.
void read_schema(ApiRequest& out, std::string_view path, const json::value& schema, const ParseContext& context);
// A list of strings.
void read_choice(ApiRequest& out, std::string_view path, const json::value& choice, const ParseContext& context);
void read_response_format(ApiRequest& out, const json::value& format, const ParseContext& context);
// JSON with or without whitespace of the model's choice; after the field that sets the grammar.
void read_any_whitespace(ApiRequest& out, bool is_allowed);

}  // namespace quire
