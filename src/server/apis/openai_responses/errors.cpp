// OpenAI's errors; a stream that has begun ends with a named event.
#include "base/json.h"
#include "server/apis/error_form.h"

namespace quire {
namespace {

std::string error_body(const ApiError& error) { return kOpenAiErrors.body(error); }

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(json::string(text));
}

// Only where the stream is cut from outside: its own writer ends it with response.failed.
std::string error_event(const ApiError& error) {
  return "event: error\ndata: " +
         json::serialize(json::object{{"type", "error"},
                                      {"sequence_number", 0},
                                      {"code", text_or_null(error.code())},
                                      {"message", error.what()},
                                      {"param", text_or_null(error.param())}}) +
         "\n\n";
}

}  // namespace

constinit const ErrorForm kResponsesErrors{.body = error_body, .stream_end = error_event};

}  // namespace quire
