// Sizes and offsets that come from files are combined only with these functions: they report overflow and never wrap
// around.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace quire {

inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

inline std::optional<uint64_t> checked_product(std::span<const uint64_t> factors) {
  std::optional<uint64_t> product = 1;
  for (const uint64_t factor : factors) {
    product = checked_mul(*product, factor);
    if (!product) return std::nullopt;
  }
  return product;
}

// True when [offset, offset + size) lies inside [0, total).
inline bool range_inside(uint64_t offset, uint64_t size, uint64_t total) {
  return offset <= total && size <= total - offset;
}

}  // namespace quire
