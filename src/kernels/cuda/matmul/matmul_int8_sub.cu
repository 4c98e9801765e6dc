// Matmul of 8-bit integers whose groups have sub-scales with a common scale.
#include "kernels/cuda/matmul/matmul_tiles.h"

namespace quire {

template void launch_tiles<Format::kQ5_K>(const TilesLaunch&);
template void launch_tiles<Format::kQ6_K>(const TilesLaunch&);

}  // namespace quire
