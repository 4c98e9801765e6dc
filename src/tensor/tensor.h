// A read-only view of a tensor inside a mapped model file, and the name -> view map that every reader offers. Views own
// nothing: they live as long as the reader that made them. Any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tensor/format.h"

namespace quire {

constexpr int kMaxRank = 8;

struct TensorView {
  Format format = Format::kF32;
  int rank = 0;                           // 0 is a scalar
  std::array<int64_t, kMaxRank> shape{};  // outermost first: [rows, cols], row-major; only `rank` entries count
  const std::byte* data = nullptr;        // GGUF: aligned to 8 bytes or more; safetensors: any alignment
  size_t size_bytes = 0;

  std::span<const int64_t> dimensions() const { return {shape.data(), static_cast<size_t>(rank)}; }
  int64_t num_elements() const;
  // A tensor as a matrix for kernels: the innermost dimension is the columns, all other dimensions together are the
  // rows.
  int64_t cols() const { return rank == 0 ? 1 : shape[static_cast<size_t>(rank - 1)]; }
  int64_t rows() const { return cols() == 0 ? 0 : num_elements() / cols(); }
  size_t row_bytes() const { return weight_format(format).bytes_of(cols()); }
  const std::byte* row(int64_t index) const { return data + static_cast<size_t>(index) * row_bytes(); }
};

using TensorMap = std::map<std::string, TensorView, std::less<>>;

// The product of the dimensions; none when one is negative or a partial product exceeds int64.
std::optional<int64_t> checked_num_elements(std::span<const int64_t> dimensions);

std::string shape_text(std::span<const int64_t> dimensions);  // "[32000, 4096]"

// Throws Error kInvalidArgument when the format is storage only; `out` has view.num_elements() floats.
void dequantize(const TensorView& view, std::span<float> out);

}  // namespace quire
