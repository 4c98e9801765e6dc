#include "base/checksum.h"

#include <cstring>

namespace quire {
namespace {

constexpr uint64_t kFactor = 0x9E3779B97F4A7C15;  // 2^64 over the golden ratio, odd

// A bijection of each argument. Products spread a bit upwards only, the shift brings it down again: no flipped bit
// leaves a difference that flipping one bit of the next word would cancel.
uint64_t mix(uint64_t state, uint64_t word) {
  const uint64_t product = (state ^ word) * kFactor;
  return product ^ product >> 32;
}

uint64_t spread(uint64_t value) {
  value = (value ^ value >> 32) * kFactor;
  value = (value ^ value >> 29) * kFactor;
  return value ^ value >> 32;
}

// Four independent chains: a processor multiplies in one while the others wait.
struct Chains {
  explicit Chains(uint64_t seed) : a(seed), b(seed + kFactor), c(seed + 2 * kFactor), d(seed + 3 * kFactor) {}

  void take(const std::byte* bytes) {
    uint64_t words[4];
    std::memcpy(words, bytes, sizeof(words));
    a = mix(a, words[0]);
    b = mix(b, words[1]);
    c = mix(c, words[2]);
    d = mix(d, words[3]);
  }

  uint64_t a, b, c, d;
};
constexpr size_t kStride = 32;

}  // namespace

uint64_t checksum64(std::span<const std::byte> bytes, uint64_t seed) {
  Chains chains(seed);
  const std::byte* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= kStride; left -= kStride, at += kStride) chains.take(at);
  if (left > 0) {
    std::byte rest[kStride] = {};
    std::memcpy(rest, at, left);
    chains.take(rest);
  }
  uint64_t sum = bytes.size();  // tells zeros at the end from none
  for (const uint64_t chain : {chains.a, chains.b, chains.c, chains.d}) sum = mix(sum, spread(chain));
  return spread(sum);
}

}  // namespace quire
