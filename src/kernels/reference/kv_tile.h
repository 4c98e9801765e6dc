// Reads, writes and copies KV tiles in plain C++, with the layout that kernels.h documents; tests compare every faster
// implementation with it. Any thread; two positions of a tile never share a byte.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace quire {

// Convert dimensions [0, head_dim) of a position to floats and back; `tile` is a K tile or a V tile of that format.
void load_k(Format format, const std::byte* tile, int head_dim, int position, float* out);
void load_v(Format format, const std::byte* tile, int head_dim, int position, float* out);
void store_k(Format format, std::byte* tile, int head_dim, int position, const float* values);
void store_v(Format format, std::byte* tile, int head_dim, int position, const float* values);

// Copy positions [first, first + count) from one K tile or V tile to another.
void copy_k(Format format, const std::byte* from, std::byte* to, int head_dim, int first, int count);
void copy_v(Format format, const std::byte* from, std::byte* to, int head_dim, int first, int count);

}  // namespace quire
