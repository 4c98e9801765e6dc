// RMSNorm (arXiv 1910.07467) over rows of `dim` floats.
#pragma once

#include "models/step.h"

namespace quire {

struct Norm {
  const float* weight = nullptr;  // [dim]
  float eps = 0.0f;
  int64_t dim = 0;  // 0 = there is no such norm

  bool exists() const { return dim != 0; }
  // What the kernels are told of x [num_rows, dim], contiguous.
  RowNorm rows(const float* x, int64_t num_rows) const {
    return {.x = x, .x_stride = dim, .weight = weight, .eps = eps, .num_rows = num_rows, .dim = dim};
  }
  // x and out [num_rows, dim] contiguous; may be the same memory.
  void apply(const Step& step, const float* x, int64_t num_rows, float* out) const {
    step.kernels->rms_norm(step.exec, rows(x, num_rows), out, dim);
  }
  // x += norm(y), both [num_rows, dim] contiguous.
  void add_to(const Step& step, float* x, const float* y, int64_t num_rows) const {
    step.kernels->add_rms_norm(step.exec, rows(y, num_rows), x);
  }
};

}  // namespace quire
