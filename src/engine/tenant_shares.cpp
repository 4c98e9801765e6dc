#include "engine/tenant_shares.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace quire {

void TenantShares::arrive(const std::string& tenant, int64_t num_sequences) {
  const auto [entry, is_new] = tenants_.try_emplace(tenant);
  Tenant& arrived = entry->second;
  if (arrived.num_sequences == 0) {
    if (!is_new) --num_idle_;
    // A tenant that returns after a pause gets no credit for it.
    const double least = least_served();
    if (least < std::numeric_limits<double>::infinity()) arrived.served = std::max(arrived.served, least);
  }
  arrived.num_sequences += num_sequences;
}

void TenantShares::leave(const std::string& tenant, int64_t num_sequences) {
  Tenant& left = tenants_.at(tenant);
  left.num_sequences -= num_sequences;
  if (left.num_sequences > 0) return;
  // Waits for twice as many as it keeps, so that the cost per tenant is small.
  if (++num_idle_ > 2 * kMaxIdleTenants) forget_idle();
}

double TenantShares::least_served() const {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.num_sequences > 0) least = std::min(least, tenant.served);
  }
  return least;
}

// Keeps the tenants that were served most: the others would return with least_served() anyway, or nearly so.
void TenantShares::forget_idle() {
  std::vector<std::pair<double, std::string>> idle;
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.num_sequences == 0) idle.emplace_back(tenant.served, name);
  }
  const auto kept = idle.begin() + static_cast<int64_t>(std::min(kMaxIdleTenants, idle.size()));
  std::nth_element(idle.begin(), kept, idle.end(), std::greater<>());
  std::for_each(kept, idle.end(), [this](const auto& forgotten) { tenants_.erase(forgotten.second); });
  num_idle_ = static_cast<size_t>(kept - idle.begin());
}

}  // namespace quire
