// A matrix whose columns lie in another order than the input's elements (GPTQ with act-order): the input is gathered in
// that order and quantised again, once for all outputs that share the order.
#pragma once

#include <span>

#include "models/layers/linear.h"

namespace quire {

// Multiplies those of `outputs` that have a column order; `input` has floats. Rows are processed in pieces of
// ColumnOrder::kRows, which changes no result.
void multiply_in_column_order(const Step& step, const MatmulInput& input, std::span<const LinearOutput> outputs);

}  // namespace quire
