// Mixed precision under a budget: each matrix gets the format for which the sum of all costs is least while the bytes
// stay within the budget. A knapsack with one choice for each matrix, solved exactly over sizes in units of a few KiB.
// Pure; deterministic.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "compress/blocks/block_method.h"
#include "tensor/format.h"

namespace quire {

struct FormatChoice {
  Format format = Format::kF16;
  uint64_t bytes = 0;
  double cost = 0;  // of the model's quality, in any unit that adds up
};

// For each matrix the index of its choice. Throws Error kLimit when the smallest choices together exceed the budget,
// saying what they need.
std::vector<size_t> choose_formats(std::span<const std::vector<FormatChoice>> matrices, uint64_t budget_bytes);

// What each format would cost a matrix: the part of its output's energy that its error takes, as far as `importance`
// tells (block_method.h). Formats whose blocks do not divide the columns are left out.
std::vector<FormatChoice> measure_choices(MatrixRows matrix, std::span<const float> importance,
                                          std::span<const Format> formats, ThreadPool& pool);

}  // namespace quire
