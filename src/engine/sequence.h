// A token sequence as the scheduler sees it: what is known, what is computed, which blocks it holds.
//
// Owned by the engine, changed only by the scheduler on the engine thread. Terminal states are reached through
// Scheduler::finish alone, which frees everything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/prefix_hash.h"

namespace quire {

enum class SequenceState : uint8_t { kWaiting, kRunning, kFinished };

// The last token of a sequence from when a step is sure to choose it until it is known.
inline constexpr int32_t kTokenToCome = -1;

struct Sequence {
  uint64_t id = 0;              // ascending in order of arrival
  std::vector<int32_t> tokens;  // prompt, then generated; the last may be kTokenToCome
  int64_t num_prompt_tokens = 0;
  int64_t max_tokens = 0;       // length it may reach, prompt included; 0: unknown
  int num_slots = 1;            // 1, or the n of parallel sampling until the forks exist
  bool needs_all_rows = false;  // the model's output for every prompt row is wanted: no cached prefix, no skipped row
  int32_t priority = 0;         // lower runs earlier (policy "priority")
  std::string tenant = {};      // whose share it counts to (policy "fair")
  double deadline_ms = 0.0;     // on the engine's clock; 0: none
  std::string cache_salt;       // prefixes are shared under an equal salt only

  // The scheduler's own.
  int64_t num_computed_tokens = 0;  // K and V of tokens[0, num_computed) are in the cache (or in swap space)
  std::vector<int32_t> blocks;      // block table
  std::vector<int32_t> swap_slots;  // where the blocks went, of a waiting sequence that was swapped out
  std::vector<PrefixHash> hashes;   // hashes[i]: of the prefix that ends where block i begins; as far as known
  int64_t num_published = 0;        // leading blocks that were offered to the prefix cache
  int64_t num_cached_tokens = 0;    // of the prompt, found in the prefix cache at the first admission
  int64_t num_preemptions = 0;
  SequenceState state = SequenceState::kWaiting;

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_uncomputed_tokens() const { return num_tokens() - num_computed_tokens; }
};

}  // namespace quire
