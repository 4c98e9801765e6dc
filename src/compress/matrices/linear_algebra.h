// The factor of an inverse that GPTQ and SparseGPT need. In doubles; the order of each sum depends on the matrix alone,
// so the bits do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace quire {

// The inverse of `symmetric` [n, n], which is symmetric and positive definite, is U^T U for one upper triangular U.
// Returns L = U^T [n, n], zeros above its diagonal: column k of a matrix takes over L[k][j] of the error of every
// column j before it (arXiv 2210.17323, algorithm 1, where U is the Cholesky factor of the inverse). Reads the upper
// half of `symmetric` and destroys it. Empty when the matrix is not positive definite.
std::vector<float> inverse_cholesky(std::span<double> symmetric, int64_t n, ThreadPool& threads);

// The same of products / mean + damping * I. products [n, n] is a sum of x x^T, `mean` that of its diagonal; rows and
// columns are taken in the order `order` [n] (empty: as they are). Damping is raised tenfold until there is a factor.
// Where nothing was seen, products of zeros, the result is the identity. Throws Error kCorrupt when the products are
// not finite.
std::vector<float> damped_inverse_cholesky(std::span<const float> products, std::span<const int32_t> order,
                                           double damping, ThreadPool& threads);

}  // namespace quire
