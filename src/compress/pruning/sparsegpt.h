// SparseGPT (arXiv 2301.00774): columns are pruned one after the other, and the columns behind take over the error that
// each zero leaves in the output. A weight counts as the error that its zero would leave.
#pragma once

#include <vector>

#include "compress/calibration/input_statistics.h"
#include "compress/pruning/sparsity.h"

namespace quire {

struct SparseGptOptions {
  // With group = 0 each 128 neighbours of a row compete, so that the choice takes account of the errors before them.
  SparsityPattern pattern;
  double damping = 0.01;  // times the mean of the diagonal of `products`
};

// The pruned matrix [rows, cols]; `input.products` is needed. Throws Error kCorrupt when they are not finite.
std::vector<float> prune_by_sparsegpt(const FloatMatrix& matrix, const InputStatistics& input,
                                      const SparseGptOptions& options, ThreadPool& threads);

}  // namespace quire
