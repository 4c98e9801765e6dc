// Packs rows of a weight file into the tiles of matmul_layout.h, on the host.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace quire {

// Bytes of the packed matrix; 0 for a format that CUDA has no matmul for, or a width that is not of whole blocks.
size_t cuda_packed_bytes(Format format, int64_t rows, int64_t cols);

// Bytes of one row of tiles, 16 rows of the matrix. Not for F32.
size_t packed_tile_row_bytes(Format format, int64_t cols);

// Packs `num_rows` (1 to 16) rows, starting at src, into one row of tiles. Every byte of it is written.
void pack_tile_row(Format format, int64_t num_rows, int64_t cols, const std::byte* src, std::byte* dst);

}  // namespace quire
