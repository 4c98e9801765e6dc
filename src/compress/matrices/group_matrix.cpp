#include "compress/matrices/group_matrix.h"

#include "base/check.h"

namespace quire {

void dequantize(const GroupMatrix& matrix, std::span<float> out) {
  CHECK(out.size() == matrix.codes.size());
  for (int64_t row = 0; row < matrix.rows; ++row) {
    for (int64_t col = 0; col < matrix.cols; ++col) {
      const auto i = static_cast<size_t>(row * matrix.cols + col);
      const auto group = static_cast<size_t>(row * matrix.num_groups() + matrix.group_of(col));
      out[i] = matrix.scales[group] * static_cast<float>(int{matrix.codes[i]} - int{matrix.zeros[group]});
    }
  }
}

}  // namespace quire
