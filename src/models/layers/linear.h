// Matrix multiplication by weights: several matrices that share an input go to the kernel in one call, and the input is
// quantised to int8 groups once, when any of them wants that.
#pragma once

#include <initializer_list>
#include <span>

#include "models/arena.h"
#include "models/layers/step.h"

namespace quire {

// Column i of a matrix belongs to element columns[i] of the input. Matrices in the same order share the arrays.
struct ColumnOrder {
  static constexpr int64_t kRows = 128;  // of the input, gathered at a time

  const int32_t* columns = nullptr;  // [cols]; null: as they are
  float* gathered = nullptr;         // [kRows, cols]
  std::byte* q8 = nullptr;           // [kRows, q8_row_bytes(cols)]
};

struct Linear {
  PackedMatrix weights;
  const float* bias = nullptr;  // [weights.rows] or none
  bool takes_q8 = false;        // Kernels::takes_q8 of the weights' format
  ColumnOrder order = {};       // of matrices that take q8

  // Whether it multiplies the int8 form of the input as it comes.
  bool takes_input_q8() const { return takes_q8 && order.columns == nullptr; }
};

// Room for the int8 form of `max_rows` rows of up to `max_cols` values.
struct Q8Buffer {
  std::byte* data = nullptr;

  void take(Arena& arena, const Kernels& kernels, int64_t max_rows, int64_t max_cols);
};

// Wraps x [num_rows, cols] for matmul, quantising it into `q8` when one of the consumers takes that form. The result
// points to x and q8.
MatmulInput matmul_input(const Step& step, const float* x, int64_t num_rows, int64_t cols, bool needs_q8,
                         const Q8Buffer& q8);

struct LinearOutput {
  const Linear* linear = nullptr;
  float* y = nullptr;       // [num_rows, linear->weights.rows] contiguous
  bool accumulate = false;  // y += instead of y =
};
constexpr int kMaxLinearOutputs = 64;
// What the kernel is told of it, from row `first_row` of y on.
MatmulOutput matmul_output(const LinearOutput& output, int64_t first_row = 0);

// At most kMaxLinearOutputs matrices.
void linear(const Step& step, const MatmulInput& input, std::span<const LinearOutput> outputs);
// matmul_input and linear in one.
void linear(const Step& step, const float* x, int64_t num_rows, const Q8Buffer& q8,
            std::initializer_list<LinearOutput> outputs);

}  // namespace quire
