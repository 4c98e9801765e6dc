// Matrix multiplication by weights: several matrices that share an input go to the kernel in one call, and the input is
// quantised to int8 groups once, when any of them wants that.
#pragma once

#include <initializer_list>
#include <span>

#include "models/arena.h"
#include "models/layers/step.h"

namespace quire {

struct Linear {
  PackedMatrix weights;
  const float* bias = nullptr;  // [weights.rows] or none
  bool takes_q8 = false;        // Kernels::takes_q8 of the weights' format
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

// At most kMaxLinearOutputs matrices.
void linear(const Step& step, const MatmulInput& input, std::span<const LinearOutput> outputs);
// matmul_input and linear in one.
void linear(const Step& step, const float* x, int64_t num_rows, const Q8Buffer& q8,
            std::initializer_list<LinearOutput> outputs);

}  // namespace quire
