// GET /openapi.json.

#include "server/openapi.h"

#include "server/endpoints/endpoints.h"

namespace quire {

void handle_openapi(ServerContext&, const ExchangePtr& exchange) {
  static const std::string document = json::serialize(openapi_document());
  exchange->reply({.body = document});
}

}  // namespace quire
