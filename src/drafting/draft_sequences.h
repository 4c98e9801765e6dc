// What a drafter with a KV pool of its own knows of each sequence: its blocks, and how much of it they hold. When the
// pool is full, the sequence that was used longest ago loses its blocks and is computed again if it comes back.
//
// Owned by the drafter, on the engine's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "models/kv_layout.h"

namespace quire {

struct DraftSequence {
  BlockTable blocks = {};
  int64_t num_computed = 0;           // positions that hold known tokens
  std::vector<int32_t> guesses = {};  // drafts at the positions after these
  bool is_long = false;               // Batch::Sequence::is_long
  uint64_t last_turn = 0;

  // Tokens that became known: keeps the guesses that were right, but not the last known token, which is to be computed
  // again for its logits.
  void roll_back(std::span<const int32_t> tokens);
};

class DraftSequences {
 public:
  explicit DraftSequences(int64_t num_blocks);

  // Sequences that are used before the next turn keep their blocks.
  void begin_turn() { ++turn_; }
  // The reference is good until the sequence is dropped.
  DraftSequence& use(uint64_t sequence);
  // Blocks for positions [0, num_positions). False when the pool has too few that are not in use.
  bool reserve(DraftSequence& sequence, int64_t num_positions);
  void drop(uint64_t sequence);
  // Blocks beside those of sequences, for the length of a turn; nothing when the pool is full.
  std::optional<int32_t> take_spare();
  void give_back(std::span<const int32_t> blocks);

  int64_t num_free_blocks() const { return static_cast<int64_t>(free_.size()); }

 private:
  void release(DraftSequence& sequence);
  bool evict_one();

  std::unordered_map<uint64_t, DraftSequence> sequences_;
  std::vector<int32_t> free_;
  uint64_t turn_ = 0;
};

}  // namespace quire
