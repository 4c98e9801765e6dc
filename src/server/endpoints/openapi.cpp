// GET /openapi.json.

#include "server/openapi.h"

#include "server/endpoints/endpoints.h"

namespace quire {

void handle_openapi(ServerContext& context, const ExchangePtr& exchange) {
  exchange->reply({.body = json::serialize(openapi_document(context.limits))});
}

}  // namespace quire
