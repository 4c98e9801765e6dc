// {"error": {"message", "type", "param", "code"}}, where the code is a word.
#include <fmt/format.h>

#include "server/apis/error_form.h"
#include "server/apis/json_text.h"

namespace quire {
namespace {

std::string openai_error(const ApiError& error) {
  const auto text_or_null = [](const std::string& text) { return text.empty() ? "null" : json_string(text); };
  return fmt::format(R"({{"error":{{"message":{},"type":{},"param":{},"code":{}}}}})", json_string(error.what()),
                     json_string(error.type()), text_or_null(error.param()), text_or_null(error.code()));
}

std::string openai_stream_end(const ApiError& error) { return "data: " + openai_error(error) + "\n\ndata: [DONE]\n\n"; }

}  // namespace

constinit const ErrorForm kOpenAiErrors{.body = openai_error, .stream_end = openai_stream_end};

}  // namespace quire
