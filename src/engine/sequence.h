// A token sequence as the scheduler sees it: what is known, what is computed, which blocks it holds.
//
// Owned by the engine, changed only by the scheduler on the engine thread. Terminal states are reached through
// Scheduler::finish alone, which frees everything.
#pragma once

#include <cstdint>
#include <vector>

namespace quire {

enum class SequenceState : uint8_t { kWaiting, kRunning, kFinished };

struct Sequence {
  uint64_t id = 0;              // ascending in order of arrival
  std::vector<int32_t> tokens;  // prompt, then generated
  int64_t num_prompt_tokens = 0;
  int64_t num_computed_tokens = 0;  // K and V of tokens[0, num_computed) are in the cache
  std::vector<int32_t> blocks;      // block table
  int num_slots = 1;                // 1, or the n of parallel sampling until the forks exist
  int64_t num_preemptions = 0;
  SequenceState state = SequenceState::kWaiting;

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_uncomputed_tokens() const { return num_tokens() - num_computed_tokens; }
};

}  // namespace quire
