#include "models/layers/embedding.h"

namespace quire {

void Embedding::fill(const Step& step, float* out) const {
  const int64_t hidden_size = table.cols();
  const WeightFormat& format = weight_format(table.format);
  for_rows(step.exec, step.num_rows, 8, [&](int64_t row) {
    float* values = out + row * hidden_size;
    format.dequantize(table.row(step.token_ids[row]), values, hidden_size);
    if (scale == 1.0f) return;
    for (int64_t i = 0; i < hidden_size; ++i) values[i] *= scale;
  });
}

}  // namespace quire
