// The CUDA table. It starts empty: a model that needs a format or an operation which the table lacks is refused when it
// loads.
//
// Entries only launch kernels on the stream of their Exec. They allocate nothing, wait for nothing and read nothing
// that lies on the device, so they may be recorded into a graph and replayed over other contents. gpu.h is the
// vocabulary of the kernels; each part fills its own entries.
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

// The table and device `index`. Throws Error when there is no such device. Without one answer NVIDIA's library
// multiplies by dense matrices of BF16 and, on compute capability 9.0, F8_G128 (dense_matmul.h); throws Error when it
// is not installed.
Backend make_cuda(bool one_answer, int index = 0);

}  // namespace quire
