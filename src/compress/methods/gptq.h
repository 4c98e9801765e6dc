// GPTQ (arXiv 2210.17323): columns become codes one after the other, and the columns that are still floats take over
// the error that each leaves in the output.
#pragma once

#include "base/thread_pool.h"
#include "compress/calibration/input_statistics.h"
#include "compress/matrices/float_matrix.h"
#include "compress/matrices/group_matrix.h"

namespace quire {

// The order in which columns become codes: those with the largest inputs first leave the most room for their errors.
enum class ColumnOrder {
  kAsTheyAre,
  kByInput,          // groups are of neighbouring columns; their scales come from the weights before any error
  kByInputInGroups,  // groups are of columns that follow in this order: GroupMatrix::groups (GPTQ's "desc_act")
};

struct GptqOptions {
  GroupGrid grid;  // its group divides the columns
  ColumnOrder order = ColumnOrder::kByInput;
  double damping = 0.01;    // times the mean of the diagonal of `products`
  bool search_clip = true;  // scales by search_clip instead of the range
};

// `input.products` is needed. Throws Error kCorrupt when it is not finite.
GroupMatrix gptq(const FloatMatrix& matrix, const InputStatistics& input, const GptqOptions& options,
                 ThreadPool& threads);

// What a matrix's replacement does to its output: sum over the rows seen of |(matrix - other) x|^2. [rows, cols] both.
double output_error(const FloatMatrix& matrix, const FloatMatrix& other, const InputStatistics& input,
                    ThreadPool& threads);

}  // namespace quire
