// The OpenAPI 3.1 description of this server: paths from the route table, requests from the field tables, the rest from
// openapi.json. Any thread.
#pragma once

#include <string_view>

#include "base/json.h"
#include "server/limits.h"

namespace quire {

// `root_path` stands before every path ("/llm"), or is empty. Throws Error when openapi.json lacks an operation of the
// table: a test calls it.
json::object openapi_document(const Limits& limits, std::string_view root_path);

}  // namespace quire
