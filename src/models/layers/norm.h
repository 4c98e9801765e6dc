// RMSNorm (arXiv 1910.07467) over rows of `dim` floats.
#pragma once

#include "models/step.h"

namespace quire {

struct Norm {
  const float* weight = nullptr;  // [dim]
  float eps = 0.0f;
  int64_t dim = 0;  // 0 = there is no such norm

  bool exists() const { return dim != 0; }
  // x and out [num_rows, dim] contiguous; may be the same memory.
  void apply(const Step& step, const float* x, int64_t num_rows, float* out) const {
    step.kernels->rms_norm(step.exec, x, dim, weight, eps, num_rows, dim, out, dim);
  }
  // x += norm(y), both [num_rows, dim] contiguous.
  void add_to(const Step& step, float* x, const float* y, int64_t num_rows) const {
    step.kernels->add_rms_norm(step.exec, x, y, weight, eps, num_rows, dim);
  }
};

}  // namespace quire
