// Every endpoint's handler; routes.cpp is the table of them. A handler is called with the whole request and answers
// through the exchange, which it keeps alive as long as it needs it; or it throws before it has answered, and
// run_route() replies with the error. It is called on its exchange's executor, or on a worker where the table says so:
// there it calls only those members of the exchange that any thread may call.
#pragma once

#include "server/context.h"
#include "server/http/exchange.h"

namespace quire {

using Handler = void (*)(ServerContext& context, const ExchangePtr& exchange);

// Operation: no key needed for the first three.
void handle_health(ServerContext& context, const ExchangePtr& exchange);
void handle_livez(ServerContext& context, const ExchangePtr& exchange);
void handle_readyz(ServerContext& context, const ExchangePtr& exchange);
void handle_version(ServerContext& context, const ExchangePtr& exchange);
void handle_metrics(ServerContext& context, const ExchangePtr& exchange);
void handle_status(ServerContext& context, const ExchangePtr& exchange);  // the live view's numbers
void handle_openapi(ServerContext& context, const ExchangePtr& exchange);
void handle_models(ServerContext& context, const ExchangePtr& exchange);  // list and /v1/models/{id}

// Inference.
void handle_chat_completions(ServerContext& context, const ExchangePtr& exchange);
void handle_chat_input_tokens(ServerContext& context, const ExchangePtr& exchange);
void handle_completions(ServerContext& context, const ExchangePtr& exchange);
void handle_embeddings(ServerContext& context, const ExchangePtr& exchange);
void handle_messages(ServerContext& context, const ExchangePtr& exchange);
void handle_count_tokens(ServerContext& context, const ExchangePtr& exchange);
void handle_responses(ServerContext& context, const ExchangePtr& exchange);
void handle_responses_input_tokens(ServerContext& context, const ExchangePtr& exchange);
void handle_response(ServerContext& context, const ExchangePtr& exchange);  // /v1/responses/{id}
void handle_delete_response(ServerContext& context, const ExchangePtr& exchange);
void handle_response_input_items(ServerContext& context, const ExchangePtr& exchange);
void handle_tokenize(ServerContext& context, const ExchangePtr& exchange);
void handle_detokenize(ServerContext& context, const ExchangePtr& exchange);
void handle_tokenizer_info(ServerContext& context, const ExchangePtr& exchange);

}  // namespace quire
