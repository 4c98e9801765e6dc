// Token ids to rows of floats, dequantised by the host straight from the mapped model file: a step touches a few rows,
// so the table is neither packed nor copied.
#pragma once

#include "models/layers/step.h"
#include "tensor/tensor.h"

namespace quire {

struct Embedding {
  TensorView table;    // [vocab_size, hidden_size] in the model file
  float scale = 1.0f;  // multiplies every row (Gemma: sqrt(hidden_size))

  // out: [step.num_rows, hidden_size], the host's
  void fill(const Step& step, float* out) const;
};

}  // namespace quire
