// Matmul of 4-bit integers.
#include "kernels/cuda/matmul/matmul_tiles.h"

namespace quire {

template void launch_tiles<Format::kQ4_0>(const TilesLaunch&);
template void launch_tiles<Format::kQ4_1>(const TilesLaunch&);
template void launch_tiles<Format::kI4_G32>(const TilesLaunch&);
template void launch_tiles<Format::kI4_G128>(const TilesLaunch&);

}  // namespace quire
