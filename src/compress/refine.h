// Coordinate descent over the codes and scales that a method has chosen: group by group each scale is fitted to its
// codes, then each code to the errors of all other columns (cyclic descent as in arXiv 2309.01885, with scales).
#pragma once

#include "base/thread_pool.h"
#include "compress/float_matrix.h"
#include "compress/group_matrix.h"
#include "compress/input_statistics.h"

namespace quire {

struct RefineOptions {
  int num_rounds = 3;
  double damping = 0.01;  // as GptqOptions: keeps what was hardly seen near its weight
};

// Lessens the output error of `result`, which stands for `matrix`. `input.products` is needed.
void refine(GroupMatrix& result, const FloatMatrix& matrix, const InputStatistics& input, const RefineOptions& options,
            ThreadPool& threads);

}  // namespace quire
