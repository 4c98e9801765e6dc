// Matrix multiplication by weights: several matrices that share an input go to the kernel in one call. The input exists
// in the forms that its readers need, floats or packed (Kernels::takes_packed). It is packed once, where possible by
// the kernel that computes its values.
#pragma once

#include <initializer_list>
#include <string>

#include "models/arena.h"
#include "models/layers/norm.h"
#include "models/step.h"

namespace quire {

struct Linear {
  PackedMatrix weights;
  const float* bias = nullptr;  // [weights.rows] or none
  bool takes_packed = false;    // Kernels::takes_packed of the weights' format
  // [cols] on the device: column i belongs to element columns[i] of the input (GPTQ with act-order). Null: as they are,
  // and so for all that do not take packed rows. Matrices in the same order share the list.
  const int32_t* columns = nullptr;
  // Its tensor's name in Hugging Face's form, and the row of the tensor where it begins (fused matrices and stacks of
  // experts). Both are the same on every rank.
  std::string name = {};
  int64_t first_row = 0;

  // Whether it multiplies the rows that others may have packed for it.
  bool takes_packed_input() const { return takes_packed && columns == nullptr; }
};

// Memory for up to `max_rows` packed rows of up to `max_cols` values (Kernels::pack_rows).
struct PackedRows {
  std::byte* data = nullptr;

  void take(Arena& arena, const Kernels& kernels, int64_t max_rows, int64_t max_cols);
};

struct InputForms {
  bool f32 = false;
  bool packed = false;
};
// Matrices with an order of columns read floats: linear() packs these for them.
InputForms forms_read_by(std::initializer_list<const Linear*> linears);

struct LinearInput {
  MatmulInput rows;             // in the forms that were asked for
  std::byte* packed = nullptr;  // memory of packed rows, of rows.packed if that is there
};

// The results of the following functions point to the memory they are given.

// x [num_rows, cols] as it is, and in `packed` when that form is needed.
LinearInput plain_input(const Step& step, const float* x, int64_t num_rows, int64_t cols, InputForms forms,
                        const PackedRows& packed);
// The norm of x [num_rows, norm.dim] in `f32`, in `packed` or in both.
LinearInput normed_input(const Step& step, const Norm& norm, const float* x, int64_t num_rows, InputForms forms,
                         float* f32, const PackedRows& packed);
// activation(gate) * up, all [num_rows, cols], in `gate` or in `packed`. Overwrites gate in either case.
LinearInput gated_input(const Step& step, Activation activation, float* gate, const float* up, int64_t num_rows,
                        int64_t cols, InputForms forms, const PackedRows& packed);

struct LinearOutput {
  const Linear* linear = nullptr;
  float* y = nullptr;       // [num_rows, linear->weights.rows] contiguous
  bool accumulate = false;  // y += instead of y =
};
constexpr int kMaxLinearOutputs = 4;

// At most kMaxLinearOutputs matrices that read `input`. Where one of them has an order of columns, input.packed holds
// the rows in that order afterwards.
void linear(const Step& step, const LinearInput& input, std::initializer_list<LinearOutput> outputs);

}  // namespace quire
