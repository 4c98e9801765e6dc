// The AVX2 table: AVX2, FMA and F16C. Each part replaces its entries of a copy of the reference table; select.cpp calls
// them on machines that have all three.
#pragma once

#include "kernels/kernels.h"
#include "kernels/roof_loops.h"

namespace quire {

void override_matmul_avx2(Kernels& table);
void override_rows_avx2(Kernels& table);
void override_attention_avx2(Kernels& table);

RoofLoops roof_loops_avx2();

}  // namespace quire
