// Matmul of weights of 16 bits.
#include "kernels/cuda/matmul/matmul_tiles.h"

namespace quire {

template void launch_tiles<Format::kBF16>(const TilesLaunch&);
template void launch_tiles<Format::kF16>(const TilesLaunch&);

}  // namespace quire
