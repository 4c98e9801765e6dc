// Everyday flags of llama.cpp and vLLM, and what Quire makes of each: docs/flags.md shows the list.
#pragma once

#include <span>

#include "apps/flags/peer_flag.h"

namespace quire {

std::span<const PeerFlag> peer_flags();

}  // namespace quire
