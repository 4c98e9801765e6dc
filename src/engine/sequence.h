// A token sequence as the scheduler sees it: what is known, what is on its way, what is computed, which blocks it
// holds.
//
// Owned by the engine, changed only by the scheduler on the engine thread (drafts apart). Terminal states are reached
// through StepLoop::finish alone, which frees everything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/prefix_hash.h"
#include "models/kv_layout.h"

namespace quire {

enum class SequenceState : uint8_t {
  kWaiting,
  kRunning,
  kEnding,  // the last of its tokens is on its way; it runs no more
  kFinished,
};

// What a sequence holds of the KV cache; KvManager's own.
struct KvState {
  std::vector<BlockTable> tables;       // of every KV group; none while the sequence holds no block
  std::vector<BlockTable> host_tables;  // likewise places of the host tier, while it is swapped out
  std::vector<PrefixHash> hashes;       // hashes[i]: of the prefix that ends where block i begins; as far as known
  int64_t num_published = 0;            // leading blocks that were offered to the prefix cache

  bool is_swapped() const { return !host_tables.empty(); }
};

struct Sequence {
  uint64_t id = 0;              // ascending in order of arrival
  std::vector<int32_t> tokens;  // prompt, then generated: those that are known
  int64_t num_prompt_tokens = 0;
  int64_t max_tokens = 0;       // length it may reach, prompt included; 0: unknown
  int num_choices = 1;          // 1, or the n of parallel sampling until the forks exist
  bool needs_all_rows = false;  // the model's output for every prompt row is wanted: no cached prefix, no skipped row
  bool shares_cache = true;     // its blocks may be found by others, and those of others by it
  // What it computes next depends on tokens that only the host can tell, as drafts do: while a step is to choose its
  // next token, no further step is planned for it.
  bool awaits_tokens = false;
  int32_t priority = 0;      // lower runs earlier (policy "priority")
  std::string tenant = {};   // whose share it counts to (policy "fair")
  double deadline_ms = 0.0;  // on the engine's clock; 0: none
  std::string cache_salt;    // prefixes are shared under an equal salt only

  // Set by the engine between steps, when no token is on its way: a guess at the tokens that follow. A step may compute
  // any number of them and tells how many were right; then they are gone. Also gone when the sequence is preempted.
  std::vector<int32_t> drafts = {};

  // The scheduler's own. Of the positions below num_computed_tokens K and V are in the cache (or in swap space), or
  // will be by steps that have started; of those below num_settled_tokens they are there, for tokens that are known.
  int64_t num_promised = 0;        // tokens after `tokens` that started steps are sure to choose
  int64_t num_open_drafts = 0;     // drafts that a started step computes
  int64_t num_prefill_tokens = 0;  // to be computed before it decodes
  int64_t num_computed_tokens = 0;
  int64_t num_settled_tokens = 0;
  int64_t num_restarts = 0;  // how often its K and V were dropped
  KvState kv;
  int64_t num_cached_tokens = 0;  // of the prompt, found in the prefix cache at the first admission
  int64_t num_preemptions = 0;
  SequenceState state = SequenceState::kWaiting;

  int64_t num_known_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_tokens() const { return num_known_tokens() + num_promised; }
  int64_t num_uncomputed_tokens() const { return num_tokens() - num_computed_tokens; }
  bool is_prefilling() const { return num_computed_tokens < num_prefill_tokens; }
};

}  // namespace quire
