// Lists that clients read page by page: the query's `limit` and `after`, and OpenAI's form of a page.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "server/http/exchange.h"

namespace quire {

struct ListPage {
  int64_t limit = 0;
  std::string after;  // the id that the client has seen last; empty: none
};

// Throws ApiError for a limit that is not 1 to `most_limit`.
ListPage read_list_page(const http::Request& from, int64_t default_limit, int64_t most_limit);
// `items` may have one more than the limit, which is left out and says that there is more.
json::object list_page_json(json::array items, const ListPage& page);

}  // namespace quire
