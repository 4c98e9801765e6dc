// Dense matrices in the layout that the library multiplies (row-major), for tables made without one answer.
//   BF16      [rows, dense_columns(cols)], zeros behind the columns
//   F8_G128   E4M3 codes [rows, cols], then float scales [cols / 128, rows]
// Experts and all other formats keep the tiles of matmul (matmul_layout.h). For F8_G128 the activations are rounded to
// E4M3 too: 128 columns share a float scale, max|x| / 448, and x / scale is rounded to nearest; magnitudes below 2^-100
// count as zeros, an infinity or a NaN makes the scale NaN.
#pragma once

#include "kernels/cuda/device/library.h"
#include "kernels/kernels.h"

namespace quire {

inline constexpr int kDenseGroup = 128;  // columns of F8_G128 that share a scale

__host__ __device__ constexpr int64_t dense_columns(int64_t cols) { return (cols + 7) / 8 * 8; }

// The parts of Exec::scratch, in bytes: the library's workspace, rows in E4M3 with their scales, and results of rows
// that are too few for the library.
struct DenseScratch {
  size_t codes_bytes = 0;
  size_t results_bytes = 0;

  size_t total() const {
    return MatmulLibrary::kWorkspaceAlignment + MatmulLibrary::kWorkspaceBytes + codes_bytes + results_bytes;
  }
};

// The entries dense_bytes, pack_dense and scratch_bytes. `multiplies_f8`: whether the library multiplies 8-bit floats
// with scales of 128 columns, which it does on compute capability 9.0 only.
void fill_dense_cuda(Kernels& table, bool multiplies_f8);

// Multiplies the dense outputs of one call of matmul, one after the other.
class DenseMatmul {
 public:
  explicit DenseMatmul(const Exec& exec, DenseScratch scratch = kScratch);
  void multiply(const MatmulInput& input, const MatmulOutput& output);

  static constexpr DenseScratch kScratch = {.codes_bytes = size_t{32} << 20, .results_bytes = size_t{16} << 20};

 private:
  struct Rows {
    int64_t first = 0;
    int64_t count = 0;
    bool in_place = false;  // false: few rows, whose results go to scratch
  };

  void multiply_bf16(const MatmulInput& input, const MatmulOutput& output);
  void multiply_f8(const MatmulInput& input, const MatmulOutput& output);
  void begin_with_bias(const MatmulOutput& output, float* y, int64_t num_rows);
  Rows next_rows(const MatmulInput& input, int64_t first, bool in_place) const;
  void quantize(const MatmulInput& input, const Rows& rows);
  void multiply_codes(const MatmulInput& input, const PackedMatrix& weights, const Rows& rows, LibraryProduct to);

  const Exec& exec_;
  DenseScratch scratch_;
  std::byte* workspace_ = nullptr;
  std::byte* codes_ = nullptr;
  float* results_ = nullptr;
  // The rows whose codes are in `codes_`.
  const std::byte* quantized_x_ = nullptr;
  Rows quantized_;
};

}  // namespace quire
