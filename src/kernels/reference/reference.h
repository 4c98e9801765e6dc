// The reference table: complete, plain, compiled for the baseline processor. Tests compare every other table with it.
// Each function fills its own entries; select.cpp calls them all.
#pragma once

#include "kernels/kernels.h"

namespace quire {

// Group `group` (32 values) of a packed row of `cols`: see Kernels::pack_rows.
void quantize_q8_group(const float* x, int64_t cols, int64_t group, std::byte* q8_row);
size_t reference_packed_row_bytes(int64_t cols);
// One head of Kernels::hadamard_heads.
void hadamard_reference(float* head, int head_dim);

// By Kernels::activations.
void fill_matmul_reference(Kernels& table);
void fill_rows_reference(Kernels& table);
void fill_experts_reference(Kernels& table);
void fill_attention_reference(Kernels& table);

}  // namespace quire
