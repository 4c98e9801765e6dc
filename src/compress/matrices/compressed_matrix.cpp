#include "compress/matrices/compressed_matrix.h"

#include <algorithm>

#include "base/check.h"
#include "tensor/float8.h"

namespace quire {

void dequantize(const Float8Matrix& matrix, std::span<float> out) {
  CHECK(out.size() == matrix.codes.size());
  const int64_t height = matrix.block_rows == 0 ? matrix.rows : matrix.block_rows;
  const int64_t width = matrix.block_cols == 0 ? matrix.cols : matrix.block_cols;
  for (int64_t r = 0; r < matrix.rows; ++r) {
    const float* const scales = matrix.scales.data() + r / height * matrix.num_col_blocks();
    for (int64_t c = 0; c < matrix.cols; ++c) {
      const auto i = static_cast<size_t>(r * matrix.cols + c);
      out[i] = scales[c / width] * e4m3_to_f32(matrix.codes[i]);
    }
  }
}

void dequantize(const CompressedMatrix& matrix, std::span<float> out) {
  if (const auto* plain = std::get_if<PlainMatrix>(&matrix)) {
    CHECK(out.size() == plain->values.size());
    std::ranges::copy(plain->values, out.begin());
  } else if (const auto* codes = std::get_if<GroupMatrix>(&matrix)) {
    dequantize(*codes, out);
  } else {
    dequantize(std::get<Float8Matrix>(matrix), out);
  }
}

}  // namespace quire
