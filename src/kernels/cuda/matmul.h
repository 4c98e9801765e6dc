// The matmul entries of the CUDA table. Layouts: matmul_layout.h (weights), compact_rows.h (rows).
#pragma once

#include "kernels/kernels.h"

namespace quire {

// Sets packed_bytes, pack, takes_q8, q8_row_bytes, matmul and matmul_experts. pack reads its `src` on the threads of
// exec and leaves the copies to the stream; it returns when src is not needed any more.
void fill_matmul_cuda(Kernels& table);

}  // namespace quire
