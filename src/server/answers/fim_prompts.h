// Prompts of requests whose answer goes between two texts. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/context.h"
#include "server/schema/api_request.h"

namespace quire {

// From a prompt, the request's suffix and its files. `path` names the suffix in errors. Throws ApiError 400:
// not_supported for a model without tokens for this.
std::vector<int32_t> middle_prompt(const ServedModel& model, const ApiRequest& request, const PromptValue& prompt,
                                   const std::string& path);
// The tokens by which the model ends a middle become stop tokens of the request.
void stop_at_ends_of_middle(const ServedModel& model, ApiRequest& request);

}  // namespace quire
