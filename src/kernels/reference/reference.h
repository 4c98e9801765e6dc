// The reference table: complete, plain, compiled for the baseline processor, the oracle of every other table. Each part
// fills its own entries; select.cpp puts them together.
#pragma once

#include "kernels/kernels.h"

namespace quire {

void fill_matmul_reference(Kernels& table);
void fill_rows_reference(Kernels& table);
void fill_attention_reference(Kernels& table);

}  // namespace quire
