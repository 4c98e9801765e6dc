// Prompts of requests whose answer goes between two texts. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/context.h"
#include "server/schema/api_request.h"

namespace quire {

// From the request's first prompt and its suffix; the model's tokens that end a middle become stop tokens of the
// request. `path` names the suffix in errors. Throws ApiError 400: not_supported for a model without such tokens,
// context_length_exceeded.
std::vector<int32_t> middle_prompt(const ServedModel& model, ApiRequest& request, const std::string& path);

}  // namespace quire
