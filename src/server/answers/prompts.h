// From a parsed request to token ids and to the engine's request. Any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "jinja/chat_template.h"
#include "server/apis/apis.h"
#include "server/context.h"
#include "server/http/exchange.h"

namespace quire {

// The body, unpacked: a view of it, or of `unpacked`, which holds what Content-Encoding packed. Throws ApiError 400, or
// 413 for what unpacks to too much.
std::string_view unpack_body(const http::Request& from, const Limits& limits, std::string& unpacked);
// The same, parsed.
json::object read_body(const http::Request& from, const Limits& limits);

struct ModelRequest {
  const ServedModel& model;
  ApiRequest request;
};
// The fields of a body, by the defaults of the model that it names. Throws ApiError: 404 for the model, 400 for a
// field.
ModelRequest read_request(const ServerContext& context, const http::Request& from, const Api& api);

// The conversation by the model's chat template, or the request's own. Throws ApiError 400.
MarkedText chat_text(const ServedModel& model, const ApiRequest& request);
// The same, tokenised. Throws ApiError 400;
// context_length_exceeded when it `must_fit` and its bytes alone say that it does not, before it is encoded.
std::vector<int32_t> chat_prompt(const ServedModel& model, const ApiRequest& request, bool must_fit);
// A plain prompt; `path` names it in errors. Throws ApiError 400 when it has no token, and
// context_length_exceeded when its bytes alone say so, before it is encoded.
std::vector<int32_t> plain_prompt(const ServedModel& model, const ApiRequest& request, const PromptValue& prompt,
                                  bool parse_special, const std::string& path);

// Cuts the prompt's beginning when the request allows that; true when it did. Throws ApiError context_length_exceeded
// for what is still too long. `max_tokens` -1: at least one token must fit.
bool fit_prompt(std::vector<int32_t>& prompt, const ApiRequest& request, int64_t max_tokens, int64_t context_length,
                const std::string& path);

// How many tokens of a prompt the request keeps; nothing when it does not cut.
std::optional<int64_t> kept_tokens(const ApiRequest& request, int64_t max_tokens, int64_t context_length);

// Throws ApiError context_length_exceeded for a text whose bytes alone say that it cannot fit, unless it may be cut.
void refuse_overlong(const ServedModel& model, const ApiRequest& request, std::string_view text,
                     const std::string& path);

// Everything but the prompt and the kind of output: sampling, stops, tenant, priority and deadline.
GenerateRequest engine_request(const ServedModel& model, const http::Request& from, const ApiRequest& request);

}  // namespace quire
