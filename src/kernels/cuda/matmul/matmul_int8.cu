// Matmul of 8-bit codes: I8_G128 times int8 rows, the others times bf16. Q5_0 becomes the same tiles as Q8_0.
#include "kernels/cuda/matmul/matmul_tiles.h"

namespace quire {

static_assert(*tile_format(Format::kQ5_0) == *tile_format(Format::kQ8_0));

template void launch_tiles<Format::kQ8_0>(const TilesLaunch&);
template void launch_tiles<Format::kQ5_1>(const TilesLaunch&);
template void launch_tiles<Format::kI8_G128>(const TilesLaunch&);
template void launch_tiles<Format::kF8_G128>(const TilesLaunch&);

}  // namespace quire
