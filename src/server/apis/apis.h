// The APIs that clients speak: a folder each, and a row in apis(). Constant; any thread.
#pragma once

#include <span>
#include <string_view>

#include "server/schema/fields.h"

namespace quire {

struct Api {
  std::string_view name;    // in the documentation
  std::string_view schema;  // of its requests, in openapi.json
  std::span<const Field> fields;
  std::string_view required = {};  // the field without which a request means nothing; checked by the handler
  // Throws ApiError when fields that are right by themselves contradict each other.
  void (*check)(const ApiRequest& request) = nullptr;
};

extern const Api kChatApi;         // openai_chat/
extern const Api kCompletionsApi;  // openai_completions/
extern const Api kEmbeddingsApi;   // openai_embeddings/
extern const Api kMessagesApi;     // anthropic_messages/
extern const Api kResponsesApi;    // openai_responses/
extern const Api kTokenizeApi;     // tokenize/
extern const Api kDetokenizeApi;

std::span<const Api* const> apis();

// Each throws ApiError: 400 with the field's path.
json::object parse_body(std::string_view body, const Limits& limits);
// The field `model`, which decides what the other fields may be; empty when there is none.
std::string model_named(const json::object& body);
ApiRequest parse_request(const json::object& body, const Api& api, const ParseContext& context);
ApiRequest parse_request(std::string_view body, const Api& api, const ParseContext& context);

// The documentation's table of all fields, in Markdown.
std::string fields_as_markdown(const Limits& limits);
// The JSON Schema of an API's requests.
json::object request_schema(const Api& api, const Limits& limits);

}  // namespace quire
