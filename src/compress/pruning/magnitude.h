// Pruning by magnitude: the smallest weights become zeros. It needs no calibration; the other methods are compared with
// it.
#pragma once

#include <vector>

#include "compress/pruning/sparsity.h"

namespace quire {

// The pruned matrix [rows, cols].
std::vector<float> prune_by_magnitude(const FloatMatrix& matrix, const SparsityPattern& pattern, ThreadPool& threads);

}  // namespace quire
