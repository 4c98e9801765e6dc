// GET /version.

#include "server/endpoints/endpoints.h"

namespace quire {

void handle_version(ServerContext&, const ExchangePtr& exchange) {
  exchange->reply({.body = R"({"version":")" QUIRE_VERSION R"("})"});
}

}  // namespace quire
