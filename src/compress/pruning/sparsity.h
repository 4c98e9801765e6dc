// Which weights of a matrix become zeros, given how much each of them matters. Pure functions.
//
// N:M (arXiv 2104.08378) keeps N of every M neighbours of a row. 32:64 is what the format S8_G64 holds; its choice is
// close to free, where 2:4 is not.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "compress/matrices/float_matrix.h"

namespace quire {

struct SparsityPattern {
  double share = 0.5;  // of the weights that become zeros, in [0, 1]
  int64_t group = 0;   // neighbouring columns of a row that compete with each other; 0: all of the row

  int64_t group_columns(int64_t cols) const { return group == 0 ? cols : group; }
  // Of `count` that compete.
  int64_t num_zeros(int64_t count) const { return std::llround(share * static_cast<double>(count)); }
};

// "50%" or "0.5" of each row, or "2:4". Throws Error kInvalidArgument for anything else.
SparsityPattern parse_sparsity(std::string_view text);
// As compressed-tensors names it: "2:4", or "unstructured".
std::string sparsity_name(const SparsityPattern& pattern);

// Sets weights to zero: those with the `num_zeros` lowest scores, none of them NaN; the later one of equals first.
void zero_lowest(std::span<float> weights, std::span<const float> scores, int64_t num_zeros);

// A copy of the matrix with zeros where the pattern puts them. Columns that do not fill a last group compete among
// themselves. score(row, column, weight) is >= 0; it is called on the threads of the pool.
template <typename Score>
std::vector<float> zero_by_score(const FloatMatrix& matrix, const SparsityPattern& pattern, ThreadPool& threads,
                                 const Score& score) {
  std::vector<float> out(matrix.values.begin(), matrix.values.end());
  threads.parallel_for(matrix.rows, [&](int64_t r, int) {
    const std::span<float> row =
        std::span(out).subspan(static_cast<size_t>(r * matrix.cols), static_cast<size_t>(matrix.cols));
    std::vector<float> scores(row.size());
    for (size_t c = 0; c < row.size(); ++c) scores[c] = score(static_cast<int64_t>(c), row[c]);
    const auto width = static_cast<size_t>(pattern.group_columns(matrix.cols));
    for (size_t first = 0; first < row.size(); first += width) {
      const size_t count = std::min(width, row.size() - first);
      zero_lowest(row.subspan(first, count), std::span(scores).subspan(first, count),
                  pattern.num_zeros(static_cast<int64_t>(count)));
    }
  });
  return out;
}

}  // namespace quire
