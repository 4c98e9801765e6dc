// Wanda (arXiv 2306.11695): the weights whose products are smallest become zeros. A weight counts as its magnitude
// times the norm of the inputs that it is multiplied by; the others stay as they are.
#pragma once

#include <vector>

#include "compress/calibration/input_statistics.h"
#include "compress/pruning/sparsity.h"

namespace quire {

// The pruned matrix [rows, cols].
std::vector<float> prune_by_wanda(const FloatMatrix& matrix, const InputStatistics& input,
                                  const SparsityPattern& pattern, ThreadPool& threads);

}  // namespace quire
