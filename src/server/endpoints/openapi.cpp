// GET /openapi.json.

#include "server/endpoints/endpoints.h"

namespace quire {

void handle_openapi(ServerContext& context, const ExchangePtr& exchange) { exchange->reply({.body = context.openapi}); }

}  // namespace quire
