// The form of llama-server and vLLM, whose interface /tokenize is, and /completion: the code is the HTTP status. The
// word is in `type`.
#include "base/json.h"
#include "server/apis/error_form.h"

namespace quire {
namespace {

std::string tokenize_error(const ApiError& error) {
  json::object members{{"code", error.status()},
                       {"message", error.what()},
                       {"type", error.code().empty() ? error.type() : error.code()}};
  if (!error.param().empty()) members["param"] = error.param();
  return json::serialize(json::object{{"error", std::move(members)}});
}

std::string tokenize_stream_end(const ApiError& error) { return "data: " + tokenize_error(error) + "\n\n"; }

}  // namespace

constinit const ErrorForm kTokenizeErrors{.body = tokenize_error, .stream_end = tokenize_stream_end};

}  // namespace quire
