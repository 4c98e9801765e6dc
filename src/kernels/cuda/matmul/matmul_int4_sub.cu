// Matmul of integers of up to 4 bits whose groups have sub-scales with a common scale.
#include "kernels/cuda/matmul/matmul_tiles.h"

namespace quire {

template void launch_tiles<Format::kQ2_K>(const TilesLaunch&);
template void launch_tiles<Format::kQ3_K>(const TilesLaunch&);
template void launch_tiles<Format::kQ4_K>(const TilesLaunch&);

}  // namespace quire
