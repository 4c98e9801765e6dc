// The search of block_search.h for IQ3_S, whose codes are points of a grid.
#pragma once

#include "tensor/formats/block_parts.h"

namespace quire {

// x, w [256].
void search_points(const float* x, const float* w, BlockParts& parts);

}  // namespace quire
