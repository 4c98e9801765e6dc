// Matmul of 4-bit (and narrower) integers whose groups have scales under a common one.
#include "kernels/cuda/matmul/matmul_tiles.h"

namespace quire {

template void launch_tiles<Format::kQ2_K>(const TilesLaunch&);
template void launch_tiles<Format::kQ3_K>(const TilesLaunch&);
template void launch_tiles<Format::kQ4_K>(const TilesLaunch&);

}  // namespace quire
