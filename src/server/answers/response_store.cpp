#include "server/answers/response_store.h"

#include <algorithm>
#include <utility>

namespace quire {

void ResponseStore::put(const std::string& tenant, const std::string& id, StoredResponse response,
                        const Limits& limits) {
  const uint64_t size = response.bytes() + id.size();
  if (size > std::min(limits.stored_tenant_bytes, limits.stored_bytes)) return;
  const std::lock_guard lock(mutex_);
  const auto place = tenants_.try_emplace(tenant).first;
  Tenant& own = place->second;
  own.entries.push_front(
      {.id = id, .response = std::make_shared<const StoredResponse>(std::move(response)), .last_use = ++num_uses_});
  own.bytes += size;
  bytes_ += size;
  const auto older = std::find_if(std::next(own.entries.begin()), own.entries.end(),
                                  [&](const Entry& entry) { return entry.id == id; });
  if (older != own.entries.end()) drop(place, older);
  while (own.entries.size() > static_cast<size_t>(limits.stored_responses) || own.bytes > limits.stored_tenant_bytes) {
    drop(place, std::prev(own.entries.end()));
  }
  while (bytes_ > limits.stored_bytes) {
    const auto victim = longest_unused();
    drop(victim, std::prev(victim->second.entries.end()));
  }
}

std::shared_ptr<const StoredResponse> ResponseStore::find(const std::string& tenant, std::string_view id) {
  const std::lock_guard lock(mutex_);
  const auto place = tenants_.find(tenant);
  if (place == tenants_.end()) return nullptr;
  std::list<Entry>& entries = place->second.entries;
  const auto entry = entry_of(place->second, id);
  if (entry == entries.end()) return nullptr;
  entry->last_use = ++num_uses_;
  entries.splice(entries.begin(), entries, entry);
  return entry->response;
}

bool ResponseStore::erase(const std::string& tenant, std::string_view id) {
  const std::lock_guard lock(mutex_);
  const auto place = tenants_.find(tenant);
  if (place == tenants_.end()) return false;
  const auto entry = entry_of(place->second, id);
  if (entry == place->second.entries.end()) return false;
  drop(place, entry);
  return true;
}

uint64_t ResponseStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

std::list<ResponseStore::Entry>::iterator ResponseStore::entry_of(Tenant& tenant, std::string_view id) {
  return std::find_if(tenant.entries.begin(), tenant.entries.end(), [&](const Entry& entry) { return entry.id == id; });
}

void ResponseStore::drop(Tenants::iterator tenant, std::list<Entry>::iterator entry) {
  const uint64_t size = entry->response->bytes() + entry->id.size();
  tenant->second.bytes -= size;
  bytes_ -= size;
  tenant->second.entries.erase(entry);
  if (tenant->second.entries.empty()) tenants_.erase(tenant);
}

ResponseStore::Tenants::iterator ResponseStore::longest_unused() {
  return std::min_element(tenants_.begin(), tenants_.end(), [](const auto& a, const auto& b) {
    return a.second.entries.back().last_use < b.second.entries.back().last_use;
  });
}

}  // namespace quire
