// The AVX-512 table: AVX-512 F, BW, VL, DQ and VNNI, with AVX2, FMA and F16C. Each part replaces its entries of a copy
// of the reference table; select.cpp calls them on machines that have all of these.
#pragma once

#include "kernels/kernels.h"
#include "kernels/roof_loops.h"

namespace quire {

void override_matmul_avx512(Kernels& table);
void override_rows_avx512(Kernels& table);
void override_attention_avx512(Kernels& table);

RoofLoops roof_loops_avx512();

}  // namespace quire
