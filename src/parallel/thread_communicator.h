// Ranks that are threads of this process and share the host's memory.
#pragma once

#include "parallel/communicator.h"

namespace quire {

// Sums are added in the order of ranks, so their bits are the same each time. A waiting rank spins for a moment and
// then sleeps.
Communicators make_thread_communicators(int size);

}  // namespace quire
