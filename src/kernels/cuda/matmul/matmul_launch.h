// The interface between the entries of matmul, which choose a kernel, and the kernels, which are compiled by family.
#pragma once

#include "kernels/cuda/device/gpu.h"
#include "kernels/cuda/matmul/matmul_job.h"
#include "kernels/cuda/matmul/matmul_layout.h"

namespace quire {

// The shapes of blocks that matmul_tiles.h describes: tokens by rows of weights.
enum class BlockChoice : uint8_t {
  kEightTokens,      // 8 x 32
  kSixteenTokens,    // 16 x 32
  kThirtyTwoTokens,  // 32 x 32
  kSmallSquare,      // 64 x 64
  kLargeSquare,      // 128 x 128
};

struct TilesLaunch {
  MatmulJob job;  // parts without first_block
  BlockChoice shape = BlockChoice::kEightTokens;
  Stream stream = nullptr;
};

// Defined for the formats of kMatrixTiles, except Q5_0, which has the tiles of Q8_0. The files matmul_int4.cu ... are
// divided by the kind of code.
template <Format kWeights>
void launch_tiles(const TilesLaunch& tiles);

// The same for F32 matrices and float rows (matmul_f32.cu).
void launch_matmul_f32(const MatmulJob& job, Stream stream);

}  // namespace quire
