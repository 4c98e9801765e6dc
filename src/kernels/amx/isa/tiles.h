// The vocabulary of tiles for Intel AMX; emulated_amx/isa/tiles.h has the same in plain C++.
//
// A tile is a register of up to 16 rows of up to 64 bytes, numbered at compile time. A product adds to tile kC, M x N
// words, the rows of tile kA (M rows of K elements) times tile kB. B holds the elements that are summed together side
// by side: word n of its row k has elements [4k, 4k + 4) of column n (bf16: [2k, 2k + 2)).
//
// Instructions are inline assembly: the intrinsics of GCC 12 do not tell the compiler that a load reads memory, nor
// that a configuration has more than eight bytes, so that it may drop the stores before them.
#pragma once

#include <cstdint>

#include "kernels/tiles/tile_config.h"

namespace quire {
namespace {

// The tiles of this thread have the sizes of the configuration, and undefined contents, while the object lives. One at
// a time in a thread; within a task, because a thread that waits must not have tiles that the system saves and
// restores.
class TileConfig {
 public:
  explicit TileConfig(const TileConfigBytes& config) { __asm__ volatile("ldtilecfg %0" : : "m"(config)); }
  ~TileConfig() { __asm__ volatile("tilerelease"); }
  TileConfig(const TileConfig&) = delete;
  TileConfig& operator=(const TileConfig&) = delete;
};

template <int kTile>
[[gnu::always_inline]] inline void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
// Rows are `stride` bytes apart in memory.
template <int kTile>
[[gnu::always_inline]] inline void tile_load(const void* p, int64_t stride) {
  __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(kTile), "r"(p), "r"(stride) : "memory");
}
template <int kTile>
[[gnu::always_inline]] inline void tile_store(void* p, int64_t stride) {
  __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(kTile), "r"(p), "r"(stride) : "memory");
}

// Sums of int32, which wrap. The names give the types of A and of B.
template <int kC, int kA, int kB>
[[gnu::always_inline]] inline void tile_dot_i8i8() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}
template <int kC, int kA, int kB>
[[gnu::always_inline]] inline void tile_dot_i8u8() {
  __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}
template <int kC, int kA, int kB>
[[gnu::always_inline]] inline void tile_dot_u8i8() {
  __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}
template <int kC, int kA, int kB>
[[gnu::always_inline]] inline void tile_dot_u8u8() {
  __asm__ volatile("tdpbuud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}
// Sums of float32: even and odd elements of a row are two chains of fused multiply-adds from 0, whose sum is added to
// C. Rounds to nearest even; denormal numbers count as zero and become zero, whatever the thread's mode.
template <int kC, int kA, int kB>
[[gnu::always_inline]] inline void tile_dot_bf16() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kC), "i"(kA), "i"(kB));
}

}  // namespace
}  // namespace quire
