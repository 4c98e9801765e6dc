// The scales, minimums and codes of one block of a GGUF format for which the weighted squared error is small.
//
// For fixed codes the best scale (and minimum) has a closed form, and for a fixed scale the best codes are the nearest
// levels. So a search starts from many scales that put the largest element on or beyond the end of the levels, refits
// the best of them, rounds as the file does (f16, integers of 4 to 8 bits) and then goes down coordinate by coordinate:
// the integers of each group among their neighbours, the codes, the f16 scales above by least squares; as long as the
// error falls. Pure functions; any thread.
#pragma once

#include "tensor/format.h"
#include "tensor/formats/block_parts.h"

namespace quire {

// Whether search_block knows the format: the block formats of GGUF files, except NVFP4.
bool has_block_search(Format format);

// Chooses `parts` for sum weights[i] * (x[i] - x'[i])^2, x' what the packed block dequantises to. x and weights are
// [block_elements]: finite, weights >= 0 and not all 0.
void search_block(Format format, const float* x, const float* weights, BlockParts& parts);

}  // namespace quire
