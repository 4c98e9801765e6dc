#include "compress/methods/rtn.h"

#include <vector>

#include "base/check.h"
#include "compress/methods/clip.h"

namespace quire {

GroupMatrix round_to_nearest(const FloatMatrix& matrix, const RoundingOptions& options, ThreadPool& threads) {
  const std::vector<float> alike(options.importance.empty() ? static_cast<size_t>(matrix.cols) : 0, 1.0f);
  const std::span<const float> importance = options.importance.empty() ? alike : options.importance;
  return round_groups(matrix, options.grid, threads, [&](std::span<const float> x, int64_t group) {
    if (!options.search_clip) return scale_of_range(x, options.grid);
    return search_clip(x, importance.subspan(static_cast<size_t>(group) * x.size(), x.size()), options.grid);
  });
}

GroupMatrix round_groups(const FloatMatrix& matrix, const GroupGrid& grid, ThreadPool& threads,
                         const std::function<ScaleZero(std::span<const float> x, int64_t group)>& scale_of) {
  GroupMatrix result = empty_groups(matrix.rows, matrix.cols, grid);
  const int64_t columns = grid.group_columns(matrix.cols);
  const int64_t groups = result.num_groups();
  threads.parallel_for(matrix.rows, [&](int64_t row, int) {
    const std::span<const float> values = matrix.row(row);
    uint8_t* codes = result.codes.data() + row * matrix.cols;
    for (int64_t group = 0; group < groups; ++group) {
      const auto x = values.subspan(static_cast<size_t>(group * columns), static_cast<size_t>(columns));
      const ScaleZero scale = scale_of(x, group);
      result.scales[static_cast<size_t>(row * groups + group)] = scale.scale;
      result.zeros[static_cast<size_t>(row * groups + group)] = scale.zero;
      for (const float value : x) *codes++ = code_of(value, scale, grid);
    }
  });
  return result;
}

GroupMatrix empty_groups(int64_t rows, int64_t cols, const GroupGrid& grid) {
  CHECK(grid.bits >= 2 && grid.bits <= 8);
  CHECK(cols % grid.group_columns(cols) == 0);
  GroupMatrix result = {.rows = rows, .cols = cols, .grid = grid};
  result.codes.resize(static_cast<size_t>(rows * cols));
  result.scales.resize(static_cast<size_t>(rows * result.num_groups()));
  result.zeros.resize(result.scales.size());
  return result;
}

}  // namespace quire
