// Communicators for devices 0, 1, ... of this process, over NVIDIA's NCCL.
#pragma once

#include "parallel/communicator.h"

namespace quire {

// Afterwards device 0 is the current device of the calling thread. Two ranks' sum has the same bits in either order.
// With more ranks NCCL chooses the order, and its choice depends on the number of elements and their position.
Communicators make_nccl_communicators(int size);

}  // namespace quire
