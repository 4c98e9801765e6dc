// Token ids to rows of floats. On the host a step reads a few rows straight from the mapped model file, so the table is
// neither packed nor copied; on a device it is packed; where the model ties them, it is the head's matrix.
#pragma once

#include "models/step.h"

namespace quire {

struct Embedding {
  PackedMatrix table;  // [vocab_size, hidden_size] as Kernels::embed_rows reads it
  float scale = 1.0f;  // multiplies every row (Gemma: sqrt(hidden_size))

  // out: [step.num_rows, hidden_size]
  void apply(const Step& step, float* out) const {
    step.kernels->embed_rows(step.exec, table, step.tokens, step.num_rows, scale, out);
  }
};

}  // namespace quire
