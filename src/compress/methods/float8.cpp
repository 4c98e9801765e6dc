#include "compress/methods/float8.h"

#include <algorithm>
#include <cmath>

#include "tensor/float8.h"

namespace quire {

Float8Matrix round_to_float8(const FloatMatrix& matrix, Float8Blocks blocks, ThreadPool& threads) {
  Float8Matrix result = {.rows = matrix.rows,
                         .cols = matrix.cols,
                         .block_rows = blocks.rows,
                         .block_cols = blocks.cols,
                         .codes = std::vector<uint8_t>(matrix.values.size()),
                         .scales = {}};
  const int64_t height = blocks.rows > 0 ? blocks.rows : matrix.rows;
  const int64_t width = blocks.cols > 0 ? blocks.cols : matrix.cols;
  const int64_t across = result.num_col_blocks();
  result.scales.resize(static_cast<size_t>(result.num_row_blocks() * across));
  threads.parallel_for(result.num_row_blocks() * across, [&](int64_t block, int) {
    const int64_t first_row = block / across * height;
    const int64_t last_row = std::min(first_row + height, matrix.rows);
    const int64_t first_col = block % across * width;
    const int64_t count = std::min(width, matrix.cols - first_col);
    const auto part_of = [&](int64_t row) {
      return matrix.row(row).subspan(static_cast<size_t>(first_col), static_cast<size_t>(count));
    };
    float largest = 0;
    for (int64_t row = first_row; row < last_row; ++row) {
      for (const float value : part_of(row)) largest = std::max(largest, std::abs(value));
    }
    const float scale = largest / kE4M3Largest;
    result.scales[static_cast<size_t>(block)] = scale;
    const float inverse = scale > 0 ? 1 / scale : 0;
    for (int64_t row = first_row; row < last_row; ++row) {
      uint8_t* code = result.codes.data() + row * matrix.cols + first_col;
      for (const float value : part_of(row)) *code++ = f32_to_e4m3(value * inverse);
    }
  });
  return result;
}

}  // namespace quire
