#include "compress/pruning/wanda.h"

#include <cmath>

#include "base/check.h"

namespace quire {

std::vector<float> prune_by_wanda(const FloatMatrix& matrix, const InputStatistics& input,
                                  const SparsityPattern& pattern, ThreadPool& threads) {
  CHECK(input.cols == matrix.cols);
  std::vector<float> norms(input.square_sums);
  for (float& norm : norms) norm = std::sqrt(norm);
  return zero_by_score(matrix, pattern, threads, [&norms](int64_t column, float weight) {
    return std::abs(weight) * norms[static_cast<size_t>(column)];
  });
}

}  // namespace quire
