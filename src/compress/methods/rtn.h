// Round to nearest: every weight becomes the code nearest to it. What needs no calibration, and what the other methods
// are compared with.
#pragma once

#include <functional>
#include <span>

#include "base/thread_pool.h"
#include "compress/matrices/float_matrix.h"
#include "compress/matrices/group_matrix.h"
#include "compress/methods/clip.h"

namespace quire {

struct RoundingOptions {
  GroupGrid grid;                          // its group divides the columns
  bool search_clip = false;                // scales by search_clip instead of the range
  std::span<const float> importance = {};  // [cols] weights of the search, such as square_sums; empty: all alike
};

GroupMatrix round_to_nearest(const FloatMatrix& matrix, const RoundingOptions& options, ThreadPool& threads);

// What such methods share: `scale_of` chooses the scale of x, the columns of `group` in some row; any thread calls it.
GroupMatrix round_groups(const FloatMatrix& matrix, const GroupGrid& grid, ThreadPool& threads,
                         const std::function<ScaleZero(std::span<const float> x, int64_t group)>& scale_of);
// All zeros. The grid's group must divide the columns.
GroupMatrix empty_groups(int64_t rows, int64_t cols, const GroupGrid& grid);

}  // namespace quire
