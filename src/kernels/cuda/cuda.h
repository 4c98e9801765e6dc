// The CUDA table. It starts empty: a format or an operation that it does not have is refused when a model loads.
//
// Entries only launch kernels on the stream of their Exec: they allocate nothing, wait for nothing and read nothing
// that lies on the device, so they may be recorded into a graph and replayed over other contents. gpu.h is what the
// kernels are written in; each part fills its own entries.
#pragma once

#include "kernels/kernels.h"
#include "kernels/select.h"

namespace quire {

// formats, packed_row_bytes.
void fill_matmul_cuda(Kernels& table);
void fill_rows_cuda(Kernels& table);
void fill_rope_cuda(Kernels& table);
void fill_experts_cuda(Kernels& table);
void embed_rows(const Exec& exec, const PackedMatrix& matrix, const EmbeddedTokens& tokens, int64_t num_rows,
                float scale, float* out);

// The table and device `index`. Throws Error where there is none. Without one answer NVIDIA's library multiplies by
// dense matrices of BF16 and, on compute capability 9.0, F8_G128 (dense_matmul.h); throws Error where it is not
// installed.
Backend make_cuda(bool one_answer, int index = 0);

}  // namespace quire
