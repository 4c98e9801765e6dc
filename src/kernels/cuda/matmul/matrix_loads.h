// Loads of tensor-core operands from shared memory, and arithmetic on pairs of f16: the operations of the attention
// kernels that gpu.h does not have. PTX manual, "ldmatrix" and "Half Precision Floating Point Instructions".
#pragma once

#include "kernels/cuda/device/gpu.h"

namespace quire {

// Loads four 8 x 8 matrices of 16-bit elements. Lane l passes the address of row l % 8 of matrix l / 8 (16 bytes,
// aligned to 16). With g = lane / 4 and t = lane % 4, d[i] of matrix i: plain (g, 2t), (g, 2t + 1); transposed (2t, g),
// (2t + 1, g); low half first.
#if defined(__CUDACC__)

__device__ __forceinline__ void load_matrices(uint32_t (&d)[4], const uint16_t* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&d)[4], const uint16_t* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
}
__device__ __forceinline__ uint32_t mul_f16_pair(uint32_t a, uint32_t b) {
  uint32_t d;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}
__device__ __forceinline__ uint32_t sub_f16_pair(uint32_t a, uint32_t b) {
  uint32_t d;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}
// Converts the two low bytes of `pair` exactly; NaN stays NaN.
__device__ __forceinline__ uint32_t e4m3_pair_to_f16(uint32_t pair) {
  const __half2_raw halves = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(pair), __NV_E4M3);
  return halves.x | static_cast<uint32_t>(halves.y) << 16;
}

#elif defined(QUIRE_GPU_EMULATED)

namespace emulated {

struct MatrixLoad {
  uint32_t* d;
  const uint16_t* row;
};

inline void check_row(const uint16_t* row, const Where& where) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) broken("a matrix's row is not aligned to 16 bytes", where);
}

template <bool kTransposed>
void load_matrices_together(void* const (&lanes)[32]) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      const auto element = [&](int row, int column) -> uint32_t {
        return static_cast<const MatrixLoad*>(lanes[matrix * 8 + row])->row[column];
      };
      const int g = lane / 4;
      const int t = lane % 4;
      const uint32_t low = kTransposed ? element(2 * t, g) : element(g, 2 * t);
      const uint32_t high = kTransposed ? element(2 * t + 1, g) : element(g, 2 * t + 1);
      static_cast<const MatrixLoad*>(lanes[lane])->d[matrix] = low | high << 16;
    }
  }
}

}  // namespace emulated

inline void load_matrices(uint32_t (&d)[4], const uint16_t* row,
                          const emulated::Where& where = emulated::Where::current()) {
  emulated::check_row(row, where);
  emulated::MatrixLoad mine{d, row};
  emulated::warp_together(emulated::load_matrices_together<false>, &mine, kAllLanes, where);
}
inline void load_matrices_transposed(uint32_t (&d)[4], const uint16_t* row,
                                     const emulated::Where& where = emulated::Where::current()) {
  emulated::check_row(row, where);
  emulated::MatrixLoad mine{d, row};
  emulated::warp_together(emulated::load_matrices_together<true>, &mine, kAllLanes, where);
}
inline uint32_t mul_f16_pair(uint32_t a, uint32_t b) {
  const auto low = [](uint32_t pair) { return f16_to_float(static_cast<uint16_t>(pair)); };
  return pack_f16(low(a) * low(b), low(a >> 16) * low(b >> 16));
}
inline uint32_t sub_f16_pair(uint32_t a, uint32_t b) {
  const auto low = [](uint32_t pair) { return f16_to_float(static_cast<uint16_t>(pair)); };
  return pack_f16(low(a) - low(b), low(a >> 16) - low(b >> 16));
}
inline uint32_t e4m3_pair_to_f16(uint32_t pair) {
  return pack_f16(e4m3_to_float(static_cast<uint8_t>(pair)), e4m3_to_float(static_cast<uint8_t>(pair >> 8)));
}

#endif

}  // namespace quire
