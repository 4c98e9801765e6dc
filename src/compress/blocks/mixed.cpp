#include "compress/blocks/mixed.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr uint64_t kMostUnits = 1 << 16;  // of the budget: the table has a row of so many cells for each matrix
constexpr double kNever = std::numeric_limits<double>::infinity();

// Rounded up, so that what fits in units fits in bytes.
uint64_t units_of(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit; }

uint64_t least_bytes(std::span<const std::vector<FormatChoice>> matrices) {
  uint64_t sum = 0;
  for (const std::vector<FormatChoice>& choices : matrices) {
    CHECK(!choices.empty() && choices.size() < 256);
    sum += std::ranges::min_element(choices, {}, &FormatChoice::bytes)->bytes;
  }
  return sum;
}

}  // namespace

std::vector<size_t> choose_formats(std::span<const std::vector<FormatChoice>> matrices, uint64_t budget_bytes) {
  const uint64_t least = least_bytes(matrices);
  // Every matrix may lose a part of a unit to rounding.
  const uint64_t unit = std::max<uint64_t>(1, budget_bytes / kMostUnits);
  const uint64_t num_units = budget_bytes / unit;
  // least_cost[u]: of the matrices so far within u units.
  std::vector<double> least_cost(num_units + 1, 0.0);
  std::vector<std::vector<uint8_t>> chosen;
  for (const std::vector<FormatChoice>& choices : matrices) {
    std::vector<double> next(num_units + 1, kNever);
    std::vector<uint8_t>& choice_of = chosen.emplace_back(num_units + 1, uint8_t{0});
    for (size_t choice = 0; choice < choices.size(); ++choice) {
      const uint64_t size = units_of(choices[choice].bytes, unit);
      for (uint64_t u = size; u <= num_units; ++u) {
        const double cost = least_cost[u - size] + choices[choice].cost;
        if (!(cost < next[u])) continue;
        next[u] = cost;
        choice_of[u] = static_cast<uint8_t>(choice);
      }
    }
    least_cost = std::move(next);
  }
  if (least_cost[num_units] == kNever) {
    fail(ErrorCode::kLimit, "the smallest formats take {} bytes, the target leaves {} for them; give a larger target",
         least, budget_bytes);
  }
  std::vector<size_t> result(matrices.size());
  uint64_t left = num_units;
  for (size_t i = matrices.size(); i-- > 0;) {
    result[i] = chosen[i][left];
    left -= units_of(matrices[i][result[i]].bytes, unit);
  }
  return result;
}

std::vector<FormatChoice> measure_choices(MatrixRows matrix, std::span<const float> importance,
                                          std::span<const Format> formats, ThreadPool& pool) {
  double energy = 0;
  for (int64_t r = 0; r < matrix.num_rows(); ++r) {
    const std::span<const float> row = matrix.row(r);
    for (size_t c = 0; c < row.size(); ++c) {
      energy += (importance.empty() ? 1.0 : importance[c]) * double{row[c]} * row[c];
    }
  }
  std::vector<FormatChoice> choices;
  for (const Format format : formats) {
    if (matrix.cols % weight_format(format).block_elements != 0) continue;
    const std::vector<std::byte> blocks = quantize_blocks(format, matrix, importance, pool);
    const double error = weighted_error(format, matrix, importance, blocks, pool);
    choices.push_back({.format = format, .bytes = blocks.size(), .cost = energy > 0 ? error / energy : 0});
  }
  return choices;
}

}  // namespace quire
