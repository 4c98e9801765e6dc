// Elements of KV tiles in plain C++, by the layout that kernels.h documents: what every faster access is checked
// against. Any thread; two positions of a tile never share a byte.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace quire {

// Dimensions [0, head_dim) of the position to floats and back; `tile` is a K tile or a V tile of that format.
void load_k(Format format, const std::byte* tile, int head_dim, int position, float* out);
void load_v(Format format, const std::byte* tile, int head_dim, int position, float* out);
void store_k(Format format, std::byte* tile, int head_dim, int position, const float* values);
void store_v(Format format, std::byte* tile, int head_dim, int position, const float* values);

}  // namespace quire
