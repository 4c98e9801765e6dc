// {"error": "message"}; a line of the same in a stream.
#include "base/json.h"
#include "server/apis/error_form.h"

namespace quire {
namespace {

std::string ollama_error(const ApiError& error) { return json::serialize(json::object{{"error", error.what()}}); }
std::string ollama_stream_end(const ApiError& error) { return ollama_error(error) + '\n'; }

}  // namespace

constinit const ErrorForm kOllamaErrors{.body = ollama_error, .stream_end = ollama_stream_end};

}  // namespace quire
