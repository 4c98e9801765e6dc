// The boundary around a handler: its exceptions become replies. Any thread.
#pragma once

#include <functional>
#include <string_view>

#include "base/error.h"
#include "server/apis/error_form.h"
#include "server/context.h"
#include "server/http/exchange.h"

namespace quire {

// Runs `handle`. An exception before the exchange was answered becomes its reply in the form of the API, and is passed
// to `on_error`, if any.
void answer_errors(const ExchangePtr& exchange, const ErrorForm& form, const std::function<void()>& handle,
                   const std::function<void(const ApiError&)>& on_error = {});

// The ApiError for an Error from the engine and below.
ApiError as_api_error(const Error& error);

// Throw 503 model_loading or draining. Endpoints that only use the tokenizer still work while the server drains.
void require_ready(const ServerContext& context);
void require_loaded(const ServerContext& context);
// The served model of this name, or the first one for an empty name. Throws 404 model_not_found with the names.
const ServedModel& require_model(const ServerContext& context, std::string_view name);

}  // namespace quire
