#include "compress/pruning/magnitude.h"

#include <cmath>

namespace quire {

std::vector<float> prune_by_magnitude(const FloatMatrix& matrix, const SparsityPattern& pattern, ThreadPool& threads) {
  return zero_by_score(matrix, pattern, threads, [](int64_t, float weight) { return std::abs(weight); });
}

}  // namespace quire
