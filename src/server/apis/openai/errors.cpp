// {"error": {"message", "type", "param", "code"}}, where the code is a word.
#include "base/json.h"
#include "server/apis/error_form.h"

namespace quire {
namespace {

std::string openai_error(const ApiError& error) {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? json::value(nullptr) : json::value(json::string(text));
  };
  return json::serialize(json::object{{"error",
                                       {{"message", error.what()},
                                        {"type", error.type()},
                                        {"param", text_or_null(error.param())},
                                        {"code", text_or_null(error.code())}}}});
}

std::string openai_stream_end(const ApiError& error) { return "data: " + openai_error(error) + "\n\ndata: [DONE]\n\n"; }

}  // namespace

constinit const ErrorForm kOpenAiErrors{.body = openai_error, .stream_end = openai_stream_end};

}  // namespace quire
