// The boundary around a handler: whatever it throws becomes a reply. Called on the exchange's executor.
#pragma once

#include <functional>

#include "base/error.h"
#include "server/api_error.h"
#include "server/endpoints/endpoints.h"

namespace quire {

// Runs `handle`; what it throws before the exchange was answered is answered here and counted as rejected.
void answer_errors(ServerContext& context, const ExchangePtr& exchange, const std::function<void()>& handle);

// An Error of the floors below, as clients see it.
ApiError as_api_error(const Error& error);

// Throw 503 model_loading or draining. What only reads the tokenizer may go on while the server drains.
void require_ready(const ServerContext& context);
void require_loaded(const ServerContext& context);
// Throws 404 model_not_found unless `model` is empty or names the loaded one.
void require_model(const ServerContext& context, const std::string& model);

}  // namespace quire
