#include "apps/flags/peer_flag.h"

#include <algorithm>

namespace quire {

std::vector<std::string_view> parts_of(std::string_view list, char separator) {
  std::vector<std::string_view> parts;
  while (!list.empty()) {
    const size_t end = std::min(list.find(separator), list.size());
    parts.push_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return parts;
}

bool PeerFlag::has_name(std::string_view name) const {
  const std::vector<std::string_view> all = parts_of(names, ',');
  return std::find(all.begin(), all.end(), name) != all.end();
}

bool PeerFlag::takes(std::string_view word) const {
  if (!value.starts_with('[')) return !value.empty();
  const std::vector<std::string_view> words = parts_of(value.substr(1, value.size() - 2), '|');
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace quire
