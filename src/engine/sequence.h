// A token sequence as the scheduler sees it: which tokens are known, pending and computed, and which blocks it holds.
//
// Owned by the engine; only the scheduler changes it, on the engine thread (except for `drafts`). Only StepLoop::finish
// ends a sequence; it releases all blocks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "drafting/drafts.h"
#include "kvstore/prefix_hash.h"
#include "models/kv_layout.h"

namespace quire {

enum class SequenceState : uint8_t {
  kWaiting,
  kRunning,
  kEnding,  // its last token is pending; no further step is planned for it
  kParked,  // a beam that waits until all beams of its search have been computed and it is known how it goes on
  kFinished,
};

// A part of a sequence's tree of drafts that does not stand on the tree's trunk: drafts [first_draft, first_draft +
// num_drafts), each the child of the one before it. The trunk is the first path, whose K and V go into the sequence's
// own blocks.
struct KvBranch {
  int64_t first_draft = 0;
  int64_t num_drafts = 0;
  int64_t first_position = 0;           // of the first of them
  int32_t parent = -1;                  // an earlier branch, which has the parent of the first one; -1: the trunk
  std::vector<BlockTable> tables = {};  // by KV group: blocks of its own, from that of first_position on
};

// What a sequence holds of the KV cache. Only KvManager changes it.
struct KvState {
  std::vector<BlockTable> tables;       // by KV group; empty while the sequence holds no block
  std::vector<BlockTable> host_tables;  // by KV group: places in the host tier, while it is swapped out; else empty
  std::vector<PrefixHash> hashes;       // hashes[i]: of the prefix before block i; computed when needed
  std::vector<KvBranch> branches;       // while a step computes a tree of drafts
  int64_t num_published = 0;            // leading blocks that were published to the prefix cache

  bool is_swapped() const { return !host_tables.empty(); }
  // The branch that has this draft; -1: the trunk.
  int32_t branch_of(int32_t draft) const;
  // The block that has this position for the tokens of a branch (-1: of the trunk).
  int32_t block_of(size_t group, int64_t position, int64_t block_size, int32_t branch) const;
};

struct Sequence {
  uint64_t id = 0;              // ascending in order of arrival
  std::vector<int32_t> tokens;  // the known tokens: the prompt, then the generated ones
  int64_t num_prompt_tokens = 0;
  int64_t max_tokens = 0;       // the length it may reach, prompt included; 0: unknown
  int num_choices = 1;          // 1, or the n of parallel sampling until the forks exist
  bool needs_all_rows = false;  // every prompt row of the model's output is wanted: no cached prefix, no skipped row
  bool shares_cache = true;     // it uses the prefix cache and publishes its blocks to it
  bool is_beam = false;         // it chooses no token itself: after each of its steps it is parked
  // Its next step depends on tokens that only the host can compute, such as drafts: while a token is pending, no
  // further step is planned for it.
  bool awaits_tokens = false;
  bool awaits_blocks = false;  // while it waits: a store brings blocks of its prefix, and it is not admitted yet
  int32_t priority = 0;        // lower runs earlier (policy "priority")
  std::string tenant = {};     // the tenant that is charged for its work (policy "fair")
  double deadline_ms = 0.0;    // on the engine's clock; 0: none
  std::string cache_salt;      // prefixes are shared under an equal salt only

  // Drafts: a guess at the tokens that follow. The engine sets them between steps, when no token is pending. A step may
  // compute any number of them and reports which were right; then they are cleared. Preemption clears them too, but
  // those that a step in flight computes.
  Drafts drafts = {};

  // Only the scheduler changes what follows. K and V of the positions below num_computed_tokens are in the cache (or in
  // swap space), or will be when the steps in flight have run; those below num_settled_tokens are there now and belong
  // to known tokens.
  int64_t num_pending_tokens = 0;  // tokens after `tokens` that steps in flight are sure to choose
  int64_t num_pending_drafts = 0;  // drafts that a step in flight computes
  int64_t num_prefill_tokens = 0;  // tokens to compute before it decodes
  int64_t num_computed_tokens = 0;
  int64_t num_settled_tokens = 0;
  int64_t num_restarts = 0;  // how often its K and V were dropped
  bool is_long = false;      // its K and V are those of a sequence longer than SchedulerOptions::rope_switch_length
  KvState kv;
  int64_t num_cached_tokens = 0;  // prompt tokens found in the prefix cache when it was first admitted
  int64_t num_preemptions = 0;
  SequenceState state = SequenceState::kWaiting;

  int64_t num_known_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_tokens() const { return num_known_tokens() + num_pending_tokens; }
  int64_t num_uncomputed_tokens() const { return num_tokens() - num_computed_tokens; }
  bool is_prefilling() const { return num_computed_tokens < num_prefill_tokens; }
};

}  // namespace quire
