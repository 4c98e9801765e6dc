// How much work each tenant was served, for the fair policy: the virtual token counter (arXiv 2401.00588).
//
// Owned by the scheduler. Remembers tenants with sequences, and of the others at most so many as matter.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

namespace quire {

class TenantShares {
 public:
  // Tenants without a sequence that are remembered for what they were served above their share.
  static constexpr size_t kMostIdle = 1024;

  void arrive(const std::string& tenant, int64_t num_sequences);
  void leave(const std::string& tenant, int64_t num_sequences);
  void charge(const std::string& tenant, double work) { tenants_.at(tenant).served += work; }  // one that has sequences
  double served(const std::string& tenant) const { return tenants_.at(tenant).served; }        // likewise
  size_t num_known() const { return tenants_.size(); }

 private:
  struct Tenant {
    double served = 0.0;  // tokens of work
    int64_t num_sequences = 0;
  };

  double least_served() const;  // of those with sequences; infinity when there is none
  void forget_idle();

  std::unordered_map<std::string, Tenant> tenants_;
  size_t num_idle_ = 0;
};

}  // namespace quire
