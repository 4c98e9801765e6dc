#include "kvstore/prefix_hash.h"

#include <bit>
#include <cstring>
#include <random>

namespace quire {
namespace {

class SipHash128 {
 public:
  explicit SipHash128(const HashKey& key)
      : v0_(key.low ^ 0x736f6d6570736575u),
        v1_(key.high ^ 0x646f72616e646f6du ^ 0xeeu),
        v2_(key.low ^ 0x6c7967656e657261u),
        v3_(key.high ^ 0x7465646279746573u) {}

  void add_word(uint64_t word) {
    v3_ ^= word;
    rounds(2);
    v0_ ^= word;
  }

  PrefixHash finish() {
    v2_ ^= 0xee;
    rounds(4);
    PrefixHash hash;
    hash.low = v0_ ^ v1_ ^ v2_ ^ v3_;
    v1_ ^= 0xdd;
    rounds(4);
    hash.high = v0_ ^ v1_ ^ v2_ ^ v3_;
    return hash;
  }

 private:
  void rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0_ += v1_;
      v1_ = std::rotl(v1_, 13) ^ v0_;
      v0_ = std::rotl(v0_, 32);
      v2_ += v3_;
      v3_ = std::rotl(v3_, 16) ^ v2_;
      v0_ += v3_;
      v3_ = std::rotl(v3_, 21) ^ v0_;
      v2_ += v1_;
      v1_ = std::rotl(v1_, 17) ^ v2_;
      v2_ = std::rotl(v2_, 32);
    }
  }

  uint64_t v0_, v1_, v2_, v3_;
};

uint64_t load_word(const std::byte* bytes, size_t count) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, count);  // little-endian, as the whole of Quire
  return word;
}

void add_bytes(SipHash128& hash, std::span<const std::byte> bytes, uint64_t total) {
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) hash.add_word(load_word(bytes.data() + at, 8));
  const size_t rest = bytes.size() - at;
  hash.add_word((rest > 0 ? load_word(bytes.data() + at, rest) : 0) | (total << 56));
}

}  // namespace

HashKey random_hash_key() {
  std::random_device device;
  const auto word = [&device] { return (uint64_t{device()} << 32) | device(); };
  return {word(), word()};
}

PrefixHash siphash128(const HashKey& key, std::span<const std::byte> bytes) {
  SipHash128 hash(key);
  add_bytes(hash, bytes, bytes.size());
  return hash.finish();
}

PrefixHash prefix_root(const HashKey& key, std::string_view salt) {
  return siphash128(key, std::as_bytes(std::span(salt)));
}

PrefixHash extend_prefix(const HashKey& key, const PrefixHash& parent, std::span<const int32_t> block_tokens) {
  SipHash128 hash(key);
  hash.add_word(parent.low);
  hash.add_word(parent.high);
  add_bytes(hash, std::as_bytes(block_tokens), 16 + block_tokens.size_bytes());
  return hash.finish();
}

}  // namespace quire
