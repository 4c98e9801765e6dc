// Identifies the content of a KV block: a keyed 128-bit hash chained over all tokens up to the block's end, so that
// equal hashes mean equal prefixes. SipHash-2-4-128 (https://eprint.iacr.org/2012/351) with a secret key: a client
// cannot construct two prefixes that collide. The root of a chain is the hash of a salt: only sequences of equal salt
// share blocks.
//
// Pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace quire {

struct PrefixHash {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const PrefixHash&) const = default;
};

struct HashKey {
  uint64_t low = 0;
  uint64_t high = 0;
};

HashKey random_hash_key();  // from the system's source of randomness

PrefixHash siphash128(const HashKey& key, std::span<const std::byte> bytes);

// The root of all chains with this salt.
PrefixHash prefix_root(const HashKey& key, std::string_view salt);
PrefixHash extend_prefix(const HashKey& key, const PrefixHash& parent, std::span<const int32_t> block_tokens);

}  // namespace quire

template <>
struct std::hash<quire::PrefixHash> {
  size_t operator()(const quire::PrefixHash& prefix) const noexcept { return static_cast<size_t>(prefix.low); }
};
