// The answers of /v1/responses that later requests read or continue. In memory: a restart loses them.
//
// Bounded by the limits stored_responses and stored_tenant_bytes for each tenant, and stored_bytes for all; those that
// were used longest ago go first. A tenant never finds another's. Any thread.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "server/limits.h"

namespace quire {

// Each is JSON.
struct StoredResponse {
  std::string response;     // the object, as it was answered
  std::string input_items;  // a list: those of its request
  std::string messages;     // a list: the conversation to its end, without instructions
  bool operator==(const StoredResponse&) const = default;

  uint64_t bytes() const { return sizeof(*this) + response.size() + input_items.size() + messages.size(); }
};

class ResponseStore {
 public:
  // Replaces one of the same id. One that alone is beyond a bound is not kept.
  void put(const std::string& tenant, const std::string& id, StoredResponse response, const Limits& limits);
  // Null when there is none, or no longer. Counts as a use.
  std::shared_ptr<const StoredResponse> find(const std::string& tenant, std::string_view id);
  // False when there was none.
  bool erase(const std::string& tenant, std::string_view id);

  uint64_t bytes() const;

 private:
  struct Entry {
    std::string id;
    std::shared_ptr<const StoredResponse> response;
    uint64_t last_use = 0;
  };
  struct Tenant {
    std::list<Entry> entries;  // the one that was used last comes first
    uint64_t bytes = 0;
  };
  using Tenants = std::map<std::string, Tenant, std::less<>>;

  static std::list<Entry>::iterator entry_of(Tenant& tenant, std::string_view id);
  void drop(Tenants::iterator tenant, std::list<Entry>::iterator entry);
  Tenants::iterator longest_unused();

  mutable std::mutex mutex_;
  Tenants tenants_;  // each has an entry
  uint64_t bytes_ = 0;
  uint64_t num_uses_ = 0;
};

}  // namespace quire
