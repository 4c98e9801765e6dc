// How the APIs say errors: each API's folder has its form, a route names the one of its clients. Constant; any thread.
#pragma once

#include <string>

#include "server/api_error.h"
#include "server/http/exchange.h"

namespace quire {

struct ErrorForm {
  std::string (*body)(const ApiError& error);  // JSON of a reply
  // Ends a stream that has begun.
  std::string (*stream_end)(const ApiError& error);
};

extern const ErrorForm kOpenAiErrors;     // openai/
extern const ErrorForm kResponsesErrors;  // openai_responses/
extern const ErrorForm kAnthropicErrors;  // anthropic_messages/
extern const ErrorForm kTokenizeErrors;   // tokenize/

// The reply. Its header fields: x-should-retry where that is known (OpenAI's clients obey it), Retry-After and
// retry-after-ms if a time is known, WWW-Authenticate with 401, Accept-Encoding with 415, and
// Connection: close for `draining`.
http::Response error_response(const ApiError& error, const ErrorForm& form);

}  // namespace quire
