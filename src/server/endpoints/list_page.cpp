#include "server/endpoints/list_page.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "server/schema/field_error.h"

namespace quire {
namespace {

// What follows "name=" in a query.
std::optional<std::string_view> query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.starts_with(name) && pair.substr(name.size()).starts_with('=')) return pair.substr(name.size() + 1);
  }
  return std::nullopt;
}

}  // namespace

ListPage read_list_page(std::string_view query, int64_t default_limit, int64_t most_limit) {
  ListPage page{.limit = default_limit, .after = std::string(query_value(query, "after").value_or(""))};
  const std::optional<std::string_view> text = query_value(query, "limit");
  if (!text) return page;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), page.limit);
  if (error != std::errc() || end != text->data() + text->size()) refuse_field("limit", "'limit' should be a number");
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
