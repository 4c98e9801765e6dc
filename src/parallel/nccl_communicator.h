// Ranks that are devices 0, 1, ... of this process, by NVIDIA's NCCL.
#pragma once

#include "parallel/communicator.h"

namespace quire {

// Leaves device 0 the current one of the calling thread. The sum of two is the same in either order; in which order
// more are added is NCCL's choice and hangs on how many elements there are and where.
Communicators make_nccl_communicators(int size);

}  // namespace quire
