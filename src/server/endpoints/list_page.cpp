#include "server/endpoints/list_page.h"

#include <charconv>

#include "server/schema/field_error.h"

namespace quire {
ListPage read_list_page(const http::Request& from, int64_t default_limit, int64_t most_limit) {
  ListPage page{.limit = default_limit, .after = from.parameter("after")};
  const std::string text = from.parameter("limit");
  if (text.empty()) return page;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), page.limit);
  if (error != std::errc() || end != text.data() + text.size()) refuse_field("limit", "'limit' should be a number");
  if (page.limit < 1 || page.limit > most_limit) {
    refuse_field("limit", fmt::format("'limit' should be 1 to {}, found {}", most_limit, page.limit));
  }
  return page;
}

json::object list_page_json(json::array items, const ListPage& page) {
  const bool has_more = items.size() > static_cast<size_t>(page.limit);
  if (has_more) items.resize(static_cast<size_t>(page.limit));
  json::object list{{"object", "list"},
                    {"first_id", items.empty() ? json::value("") : items.front().at("id")},
                    {"last_id", items.empty() ? json::value("") : items.back().at("id")},
                    {"has_more", has_more}};
  list["data"] = std::move(items);
  return list;
}

}  // namespace quire
