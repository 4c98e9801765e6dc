// Ranks that are threads of this process and share the host's memory.
#pragma once

#include "parallel/communicator.h"

namespace quire {

// Sums go in the order of ranks, so they are the same bits each time. Whoever waits spins for a moment and then sleeps.
Communicators make_thread_communicators(int size);

}  // namespace quire
