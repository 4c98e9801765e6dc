// Conversations that are longer than the context: their oldest turns are left out.
#pragma once

#include "server/answers/generation.h"
#include "server/schema/api_request.h"
#include "server/served_models.h"

namespace quire {

// The prompt of a conversation. Where the request drops old turns and the prompt does not fit into the context together
// with the answer, or with one token of it, as many of the oldest turns as needed are left out. A turn begins with a
// message of the user's; system messages at the beginning and the user's last message stay. Where the last turn alone
// is too long, its oldest calls of tools are left out with their results. What is still too long then is for the caller
// to refuse. Throws ApiError 400. Any thread.
Prompt conversation_prompt(const ServedModel& model, const ApiRequest& request);

}  // namespace quire
