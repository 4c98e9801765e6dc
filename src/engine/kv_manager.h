// Which blocks sequences hold, over all KV groups (models/kv_layout.h): a BlockManager for the pool of each, the places
// of its host tier, the block tables of every sequence, and what a prefix of known tokens is worth.
//
// Owned by the scheduler, which decides who gets room; engine thread only. Rules:
// - Tables are indexed by absolute position. In a group with a window, entries wholly before what the next token sees
// are
//   empty: their blocks have been given back, and stay cached in their group as long as nobody needs them.
// - A group that sees everything gets blocks for all tokens a sequence knows; one with a window for those of a step.
// - A prefix is found when every group has what the token after it sees.
// - Places of the host tier that a move reads are free again when that move is complete.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/block_manager.h"
#include "engine/sequence.h"
#include "engine/step_plan.h"

namespace quire {

struct KvGroupOptions {
  int64_t window = 0;  // positions that a token sees, itself among them; 0: all
  int64_t num_blocks = 0;
  int64_t num_host_blocks = 0;
};

struct KvOptions {
  int64_t block_size = 32;
  std::vector<KvGroupOptions> groups;
  int64_t max_batch_tokens = 512;  // of a step
  Eviction eviction = Eviction::kLru;
  HashKey hash_key;
};

// A known prefix: of every group the table that a sequence which begins with it gets.
struct PrefixHit {
  int64_t num_blocks = 0;
  std::vector<BlockTable> tables;  // none when nothing is known
};

class KvManager {
 public:
  explicit KvManager(KvOptions options);

  size_t num_groups() const { return groups_.size(); }
  const BlockManager& blocks(size_t group) const { return groups_[group].blocks; }
  int64_t blocks_for(int64_t num_tokens) const { return (num_tokens + options_.block_size - 1) / options_.block_size; }
  // Whether a sequence of so many tokens, alone, can be computed to its end.
  bool can_ever_hold(int64_t num_tokens) const;
  // The tokens of the longest such sequence.
  int64_t longest_sequence() const;

  // ---- how many blocks of a group ----
  // The most that a sequence of so many tokens holds between steps.
  int64_t held_by(size_t group, int64_t num_tokens) const;
  // The most that it holds beyond these while a step computes its tokens: windows move on between steps.
  int64_t step_extra(size_t group, int64_t num_tokens) const;
  // The most that the tokens of one step take, over all sequences.
  int64_t most_step_blocks() const { return blocks_for(options_.max_batch_tokens); }
  // The blocks in the group's table; 0 when there are no tables.
  int64_t num_held(size_t group, const std::vector<BlockTable>& tables) const;
  // What a running sequence has not taken yet of held_by(): a window fills step by step.
  int64_t not_yet_held(size_t group, const Sequence& sequence) const;
  // What must be allocated before a sequence that starts from the hit, or from the host tier, computes tokens up to
  // `end`.
  int64_t needed_to_start(size_t group, const Sequence& sequence, const PrefixHit& hit, int64_t end) const;
  // The blocks of the hit that are cached: they count as available until they are held.
  int64_t num_cached(size_t group, const PrefixHit& hit) const;
  // What cover() of the same `end` allocates.
  int64_t num_new(size_t group, const Sequence& sequence, int64_t end) const;
  // The end of the positions that have room in the sequence's own blocks and in those that are available, num_reserved
  // of each group left out.
  int64_t end_of_room(const Sequence& sequence, int64_t num_reserved) const;

  // ---- a sequence's blocks ----
  // Gives back the blocks that no token from this position on sees.
  void give_back(Sequence& sequence, int64_t position);
  // Makes the tables cover the tokens that are to be computed up to `end`. There must be room.
  void cover(Sequence& sequence, int64_t end);
  void start_from(Sequence& sequence, const PrefixHit& hit);
  // Whether others hold the block of this position too; none exists beyond the end of the table.
  bool is_shared(size_t group, const Sequence& sequence, int64_t position) const;
  // Replaces shared blocks of the position by copies.
  void copy_shared(Sequence& sequence, int64_t position, std::vector<StepPlan::Move>& moves);
  void share(const Sequence& parent, Sequence& child);
  // Gives up all but the first num_blocks entries, from the end: of a prefix that nobody uses any more the tail is
  // forgotten first.
  void release(Sequence& sequence, int64_t num_blocks = 0);

  // ---- the host tier ----
  bool can_swap_out(const Sequence& sequence) const;
  int64_t num_to_swap(const Sequence& sequence) const;  // blocks
  void swap_out(Sequence& sequence, std::vector<StepPlan::Move>& moves);
  void swap_in(Sequence& sequence, std::vector<StepPlan::Move>& moves);
  void release_host(Sequence& sequence, int64_t num_blocks = 0);
  // All moves up to this mark are complete.
  void complete_moves(uint64_t mark);

  // ---- the prefix cache ----
  // The longest known prefix of at most num_blocks blocks.
  PrefixHit find_prefix(Sequence& sequence, int64_t num_blocks) const;
  // Offers blocks that are full of settled tokens.
  void publish(Sequence& sequence);

  // That `sequences` hold exactly what is held, in every group and tier, and that none misses a block that its next
  // token sees. For tests, the simulator and idle moments.
  void check(std::span<const Sequence* const> sequences) const;

 private:
  struct Group {
    KvGroupOptions options;
    BlockManager blocks;
    std::vector<int32_t> free_host;
    struct Reading {
      uint64_t mark;
      int32_t place;
    };
    std::deque<Reading> reading;  // places that moves read
  };

  // Blocks of a window and the tokens of a step, wherever they begin in a block.
  int64_t most_of_window(int64_t window) const { return blocks_for(window - 1 + options_.max_batch_tokens) + 1; }
  int64_t first_block(const Group& group, int64_t position) const;
  int64_t end_block(const Group& group, const Sequence& sequence, int64_t end) const;
  int64_t swapped_end(const Sequence& sequence) const { return blocks_for(sequence.num_computed_tokens); }
  std::span<const int32_t> tokens_of_block(const Sequence& sequence, int64_t index) const;
  void extend_hashes(Sequence& sequence, int64_t num_blocks) const;
  std::optional<int32_t> find(const Group& group, const Sequence& sequence, int64_t block) const;
  int64_t longest_prefix(Sequence& sequence, int64_t most) const;

  KvOptions options_;
  std::vector<Group> groups_;
  uint64_t next_mark_ = 1;
};

}  // namespace quire
