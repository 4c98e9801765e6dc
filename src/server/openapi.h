// The OpenAPI 3.1 description of this server: paths from the route table, bodies from openapi.json. Any thread.
#pragma once

#include <string>

#include "base/json.h"

namespace quire {

// Throws Error when openapi.json lacks an operation of the table: a test calls it.
json::object openapi_document();

}  // namespace quire
