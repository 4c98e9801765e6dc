// Spreads bytes that lie together to the places that a bitmap names, by a table of permutations: for instruction sets
// without an instruction that does it. math.h says how the files of this folder are used.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace quire {
namespace {

// Byte i of row `bits`: how many bits are set before bit i; 0x80, which gives a zero, if bit i is not set.
struct ExpandTable {
  uint8_t of[256][8];
};
constexpr ExpandTable expand_table() {
  ExpandTable table = {};
  for (int bits = 0; bits < 256; ++bits) {
    uint8_t next = 0;
    for (int i = 0; i < 8; ++i) table.of[bits][i] = ((bits >> i) & 1) != 0 ? next++ : 0x80;
  }
  return table;
}
alignas(64) constexpr ExpandTable kExpandTable = expand_table();

// Reads eight bytes at `kept` and moves `kept` behind those that are used; the upper half is arbitrary.
inline __m128i expand_eight(const std::byte*& kept, uint32_t bits) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kept));
  kept += __builtin_popcount(bits);
  return _mm_shuffle_epi8(bytes, _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kExpandTable.of[bits])));
}
inline __m128i expand_sixteen(const std::byte*& kept, uint32_t bits) {
  const __m128i low = expand_eight(kept, bits & 0xff);
  return _mm_unpacklo_epi64(low, expand_eight(kept, bits >> 8));
}
// The bytes that `bits` does not name become zeros.
inline __m256i expand_32(const std::byte*& kept, uint32_t bits) {
  const __m128i low = expand_sixteen(kept, bits & 0xffff);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), expand_sixteen(kept, bits >> 16), 1);
}

}  // namespace
}  // namespace quire
