// Ranks that are devices 0, 1, ... of this process, by NVIDIA's NCCL.
#pragma once

#include "parallel/communicator.h"

namespace quire {

// Leaves device 0 the current one of the calling thread. Two ranks' sum has the same bits in either order. With
// more ranks NCCL chooses the order, and its choice depends on the number of elements and their position.
Communicators make_nccl_communicators(int size);

}  // namespace quire
