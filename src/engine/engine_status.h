// A copy of the engine's counters and gauges, for metrics, the live view and tests.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/block_manager.h"
#include "models/layer_weights.h"

namespace quire {

// Upper bounds of the buckets of EngineStatus::step_tokens and step_ms; one more bucket holds what is above the last.
inline constexpr std::array<int64_t, 12> kStepTokenBounds = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048};
inline constexpr std::array<double, 12> kStepMsBounds = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000};

// Positions that EngineStatus::accepted_by_position tells apart.
inline constexpr size_t kDraftPositions = 16;

struct EngineStatus {
  using Block = BlockState;
  struct KvGroup {
    int64_t window = 0;  // positions that a token sees; 0: all
    int64_t blocks_total = 0;
    int64_t blocks_active = 0;
    int64_t blocks_cached = 0;
  };

  // The store of KV blocks beyond the pool (kv_store_client.h).
  struct KvStore {
    const char* name = nullptr;  // null: there is none
    bool is_available = true;
    int64_t num_blocks = 0;
    uint64_t bytes = 0;
    uint64_t capacity_bytes = 0;
    int64_t queried_tokens = 0;  // since the start, like all below: of prompts, that were looked for
    int64_t fetched_tokens = 0;
    int64_t cut_fetches = 0;
    double fetch_ms = 0;
    int64_t blocks_read = 0;
    int64_t blocks_written = 0;
    int64_t blocks_evicted = 0;
    int64_t blocks_dropped = 0;
    int64_t failures = 0;
  };

  // Now.
  int64_t num_running = 0;
  int64_t num_waiting = 0;
  int64_t num_swapped = 0;   // waiting sequences whose KV lies in swap space
  int64_t blocks_total = 0;  // these three: of the KV group with the longest reach
  int64_t blocks_active = 0;
  int64_t blocks_cached = 0;       // without holders, reusable by prefix
  int64_t block_size = 0;          // tokens
  std::vector<KvGroup> kv_groups;  // that one first
  KvStore kv_store;

  // Since the start.
  int64_t num_steps = 0;
  int64_t prompt_tokens = 0;    // of requests that were started, cached tokens included
  int64_t cached_tokens = 0;    // prompt tokens taken from the prefix cache
  int64_t computed_tokens = 0;  // rows that went through the model
  int64_t generated_tokens = 0;
  int64_t num_drafts = 0;                                       // steps of a sequence with drafts
  int64_t draft_tokens = 0;                                     // drafts that were verified
  int64_t accepted_tokens = 0;                                  // drafts that held
  std::array<int64_t, kDraftPositions> accepted_by_position{};  // of these: [i] those that were the i-th after the root
  int64_t num_preemptions = 0;
  int64_t num_swaps = 0;      // preemptions that moved KV to swap space instead of dropping it
  int64_t num_cancelled = 0;  // choices
  int64_t num_timed_out = 0;
  int64_t num_failed = 0;                                          // choices with NaN or infinity in the logits
  int64_t num_aborted = 0;                                         // choices whose step threw
  int64_t num_failed_steps = 0;                                    // steps that threw
  int64_t refused_requests = 0;                                    // Refusal::kQueueRequests
  int64_t refused_tokens = 0;                                      // Refusal::kQueueTokens
  double plan_ms = 0;                                              // time of all steps: admit, cancel and plan
  double run_ms = 0;                                               // waiting for the model
  double decode_ms = 0;                                            // sample and publish
  std::array<int64_t, kStepTokenBounds.size() + 1> step_tokens{};  // steps by the tokens they ran
  std::array<int64_t, kStepMsBounds.size() + 1> step_ms{};         // steps by their time

  WeightReads weight_reads;  // of a model that is larger than memory

  std::vector<std::vector<Block>> blocks;  // of every KV group, by block id; only when asked for
};

}  // namespace quire
