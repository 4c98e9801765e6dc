#include "kvstore/prefix_hash.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace quire {
namespace {

// The published vectors of SipHash-2-4 with 128 bits: the key is 00 01 .. 0f, the message the first n of 00 01 02 ..
TEST(PrefixHash, SipHashVectors) {
  const HashKey key{0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
  std::array<std::byte, 16> message{};
  for (size_t i = 0; i < message.size(); ++i) message[i] = static_cast<std::byte>(i);
  const auto hash = [&](size_t length) { return siphash128(key, std::span(message).first(length)); };
  EXPECT_EQ(hash(0), (PrefixHash{0xe6a825ba047f81a3u, 0x930255c71472f66du}));
  EXPECT_EQ(hash(1), (PrefixHash{0x44af996bd8c187dau, 0x45fc229b11597634u}));
}

TEST(PrefixHash, DependsOnKeySaltPrefixAndTokens) {
  const HashKey key{1, 2};
  const std::vector<int32_t> tokens = {1, 2, 3, 4};
  const std::vector<int32_t> others = {1, 2, 3, 5};
  const PrefixHash root = prefix_root(key, "a");
  EXPECT_FALSE(root == prefix_root(key, "b"));
  EXPECT_FALSE(root == prefix_root({1, 3}, "a"));
  EXPECT_EQ(extend_prefix(key, root, tokens), extend_prefix(key, root, tokens));
  EXPECT_FALSE(extend_prefix(key, root, tokens) == extend_prefix(key, root, others));
  EXPECT_FALSE(extend_prefix(key, root, tokens) == extend_prefix(key, prefix_root(key, "b"), tokens));
}

}  // namespace
}  // namespace quire
