#include "base/random.h"

namespace quire {

uint64_t philox(uint64_t seed, uint64_t counter) {
  uint32_t block[4] = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0};
  uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * block[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * block[2];
    const uint32_t next[4] = {
        static_cast<uint32_t>(product1 >> 32) ^ block[1] ^ key[0], static_cast<uint32_t>(product1),
        static_cast<uint32_t>(product0 >> 32) ^ block[3] ^ key[1], static_cast<uint32_t>(product0)};
    for (int i = 0; i < 4; ++i) block[i] = next[i];
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return (uint64_t{block[1]} << 32) | block[0];
}

}  // namespace quire
