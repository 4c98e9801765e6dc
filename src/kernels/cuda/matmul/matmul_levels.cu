// Matmul of 4-bit codes that index a table of numbers.
#include "kernels/cuda/matmul/matmul_tiles.h"

namespace quire {

template void launch_tiles<Format::kIQ4_NL>(const TilesLaunch&);
template void launch_tiles<Format::kIQ4_XS>(const TilesLaunch&);
template void launch_tiles<Format::kMXFP4>(const TilesLaunch&);

}  // namespace quire
