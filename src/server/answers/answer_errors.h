// The boundary around a handler: its exceptions become replies. Any thread.
#pragma once

#include <functional>

#include "base/error.h"
#include "server/api_error.h"
#include "server/context.h"
#include "server/http/exchange.h"

namespace quire {

// Runs `handle`. An exception before the exchange was answered becomes its reply and counts as rejected.
void answer_errors(ServerContext& context, const ExchangePtr& exchange, const std::function<void()>& handle);

// The ApiError for an Error from the engine and below.
ApiError as_api_error(const Error& error);

// Throw 503 model_loading or draining. Endpoints that only use the tokenizer still work while the server drains.
void require_ready(const ServerContext& context);
void require_loaded(const ServerContext& context);
// Throws 404 model_not_found unless `model` is empty or names the loaded one.
void require_model(const ServerContext& context, const std::string& model);

}  // namespace quire
