// The functions that the sources of a vector table call from each other. table.h says how they are compiled.
#pragma once

#include "kernels/vector/table.h"

QUIRE_DECLARE_VECTOR_TABLE(QUIRE_TABLE);

namespace quire::QUIRE_TABLE {

// Each function replaces its entries of the table.
void override_matmul(Kernels& table);
void override_packed_rows(Kernels& table);
void override_rows(Kernels& table);
void override_attention(Kernels& table);

// These replace what multiplies packed rows of their kind of activations. A table over another one may have its own.
void override_bf16(Kernels& table);
void override_f32(Kernels& table);

// Kernels::pack.
void pack_matrix(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src, std::byte* dst);

// The most tokens of one call of MultiplyPanels: their sums, with a decoded panel, fill the first-level cache.
constexpr int64_t kTokenBlock = 128;
// sums = panels * tokens^T for `count` panels from `first` on, over all columns; sums: [count][num_tokens][kPanelRows],
// zeros before.
using MultiplyPanels = void (*)(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x,
                                int64_t first_token, int64_t num_tokens, float* sums);

// The functions of each format family (matmul_layout.h); null for other formats. Each family is a separate source, so
// that families compile in parallel.
MultiplyPanels float_panels(Format format);
MultiplyPanels byte_panels(Format format);
MultiplyPanels nibble_panels(Format format);
MultiplyPanels level_panels(Format format);
MultiplyPanels plane_panels(Format format);
MultiplyPanels sparse_panels(Format format);

// Of every other format of weights: blocks stay as they lie in a file and are decoded to floats when they are
// multiplied (matmul_blocks.cpp).
size_t block_matrix_bytes(Format format, int64_t rows, int64_t cols);
void pack_block_matrix(const Exec& exec, Format format, int64_t rows, int64_t cols, const std::byte* src,
                       std::byte* dst);
void multiply_block_panels(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x, int64_t first_token,
                           int64_t num_tokens, float* sums);

}  // namespace quire::QUIRE_TABLE
