// Counts the work that each tenant was served, for the fair policy: the virtual token counter (arXiv 2401.00588).
//
// Owned by the scheduler. Remembers all tenants with sequences and a bounded number of the others.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

namespace quire {

class TenantShares {
 public:
  // At least this many tenants without a sequence are remembered, those with the most work served; at most twice as
  // many.
  static constexpr size_t kMaxIdleTenants = 1024;

  void arrive(const std::string& tenant, int64_t num_sequences);
  void leave(const std::string& tenant, int64_t num_sequences);
  // Both need a tenant that has sequences. `work` in prompt tokens.
  void charge(const std::string& tenant, double work) { tenants_.at(tenant).served += work; }
  double served(const std::string& tenant) const { return tenants_.at(tenant).served; }
  size_t num_known() const { return tenants_.size(); }

 private:
  struct Tenant {
    double served = 0.0;  // tokens of work
    int64_t num_sequences = 0;
  };

  double least_served() const;  // the minimum over tenants with sequences; infinity when there is none
  void forget_idle();

  std::unordered_map<std::string, Tenant> tenants_;
  size_t num_idle_ = 0;
};

}  // namespace quire
