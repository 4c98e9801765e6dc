// The packed rows of the reference, and the plainest definition of their values: one group of columns in and one value
// out.
#pragma once

#include <cstring>

#include "kernels/kernels.h"
#include "kernels/reference/reference.h"
#include "tensor/half.h"

namespace quire {

template <Activations kKind>
struct ReferenceRows;

template <>
struct ReferenceRows<Activations::kInt8> {
  static size_t bytes(int64_t cols) { return reference_packed_row_bytes(cols); }
  static void put(const float* x, int64_t, int64_t cols, int64_t first, std::byte* row) {
    quantize_q8_group(x, cols, first / kPackedColumnMultiple, row);
  }
  static double get(const std::byte* row, int64_t cols, int64_t column) {
    float scale = 0;
    std::memcpy(&scale, row + cols + column / kPackedColumnMultiple * static_cast<int64_t>(sizeof scale), sizeof scale);
    return static_cast<double>(static_cast<int8_t>(row[column])) * static_cast<double>(scale);
  }
};

template <>
struct ReferenceRows<Activations::kBf16> {
  static size_t bytes(int64_t cols) { return (static_cast<size_t>(cols) * sizeof(uint16_t) + 63) / 64 * 64; }
  // `count` values from column `first` on.
  static void put(const float* x, int64_t count, int64_t, int64_t first, std::byte* row) {
    for (int64_t i = 0; i < count; ++i) reinterpret_cast<uint16_t*>(row)[first + i] = f32_to_bf16(x[i]);
  }
  static double get(const std::byte* row, int64_t, int64_t column) {
    return static_cast<double>(bf16_to_f32(reinterpret_cast<const uint16_t*>(row)[column]));
  }
};

template <>
struct ReferenceRows<Activations::kF32> {
  static size_t bytes(int64_t cols) { return (static_cast<size_t>(cols) * sizeof(float) + 63) / 64 * 64; }
  static void put(const float* x, int64_t count, int64_t, int64_t first, std::byte* row) {
    std::memcpy(row + first * static_cast<int64_t>(sizeof(float)), x, static_cast<size_t>(count) * sizeof(float));
  }
  static double get(const std::byte* row, int64_t, int64_t column) {
    return static_cast<double>(reinterpret_cast<const float*>(row)[column]);
  }
};

// Calls body.operator()<kKind>().
template <typename F>
void with_activations(Activations kind, F body) {
  switch (kind) {
    case Activations::kInt8: return body.template operator()<Activations::kInt8>();
    case Activations::kBf16: return body.template operator()<Activations::kBf16>();
    case Activations::kF32: return body.template operator()<Activations::kF32>();
  }
}

}  // namespace quire
