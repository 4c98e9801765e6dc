// Manages the blocks of all KV groups (models/kv_layout.h): for each group a BlockManager of its pool and the free
// places of its host tier; for each sequence its block tables; and the search for cached prefixes.
//
// Owned by the scheduler, which decides which sequences get blocks; engine thread only. Rules:
// - Tables are indexed by absolute position. In a group with a window, the entries of blocks that the next token does
//   not see are empty: these blocks have been released, and stay cached in their group until they are needed.
// - A sequence has blocks for all its known tokens in a group without a window, and for the tokens of the current step
//   in a group with one.
// - A prefix is found when every group has the blocks that the token after it sees.
// - A place of the host tier that a move reads is free again when that move is complete.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/block_manager.h"
#include "engine/sequence.h"
#include "engine/step_plan.h"

namespace quire {

struct KvGroupOptions {
  int64_t window = 0;  // positions that a token sees, its own included; 0: all
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

// The room that a step has for drafts of a sequence.
struct DraftRoom {
  int64_t num_drafts = 0;
  int64_t num_branches = 0;
  int64_t end = 0;           // the first position that they may not have
  int64_t num_reserved = 0;  // available blocks of each group to be left alone
};

// A cached prefix.
struct PrefixHit {
  int64_t num_blocks = 0;
  std::vector<BlockTable> tables;  // by group, for a sequence that begins with the prefix; empty without a prefix
};

class KvManager {
 public:
  explicit KvManager(KvOptions options);

  size_t num_groups() const { return groups_.size(); }
  const BlockManager& blocks(size_t group) const { return groups_[group].blocks; }
  int64_t blocks_for(int64_t num_tokens) const { return (num_tokens + options_.block_size - 1) / options_.block_size; }
  // Whether a sequence that grows to num_tokens can be computed to its end when it runs alone.
  bool can_ever_hold(int64_t num_tokens) const;
  // The largest num_tokens for which can_ever_hold() is true.
  int64_t longest_sequence() const;

  // ---- numbers of blocks in a group ----
  // The most blocks that a sequence of num_tokens holds between steps.
  int64_t max_held_blocks(size_t group, int64_t num_tokens) const;
  // The most blocks that it holds beyond these during a step, because windows move on between steps only.
  int64_t max_extra_step_blocks(size_t group, int64_t num_tokens) const;
  // The most blocks that the tokens of one step take, over all sequences.
  int64_t max_step_blocks() const { return blocks_for(options_.max_batch_tokens); }
  // The blocks in the group's table; 0 when there are no tables.
  int64_t num_held(size_t group, const std::vector<BlockTable>& tables) const;
  // How many blocks of max_held_blocks() a running sequence does not hold yet: a window fills step by step.
  int64_t num_not_yet_held(size_t group, const Sequence& sequence) const;
  // The blocks to allocate before a sequence that starts from the hit, or from the host tier, can compute tokens up to
  // `end`.
  int64_t num_blocks_to_start(size_t group, const Sequence& sequence, const PrefixHit& hit, int64_t end) const;
  // The blocks of the hit that are cached. They count as available until the sequence holds them.
  int64_t num_cached(size_t group, const PrefixHit& hit) const;
  // The blocks that cover() allocates for the same `end`.
  int64_t num_blocks_to_cover(size_t group, const Sequence& sequence, int64_t end) const;

  // ---- a sequence's blocks ----
  // Releases the blocks that no token at this position or later sees.
  void release_before(Sequence& sequence, int64_t position);
  // Allocates blocks until the tables cover the tokens to be computed, up to `end`. Enough blocks must be available.
  void cover(Sequence& sequence, int64_t end);
  // The sequence holds the blocks of the hit.
  void start_from(Sequence& sequence, const PrefixHit& hit);
  // Whether other sequences hold the block of this position too; false beyond the end of the table.
  bool is_shared(size_t group, const Sequence& sequence, int64_t position) const;
  // Replaces the blocks of this position that are shared by copies. Appends the copies to `moves`.
  void copy_on_write(Sequence& sequence, int64_t position, std::vector<StepPlan::Move>& moves);
  // The child holds the blocks of the parent too.
  void share(const Sequence& parent, Sequence& child);
  // Releases all but the first num_blocks entries, from the end, so that the tail of a cached prefix is evicted first;
  // with the last entry the branches.
  void release(Sequence& sequence, int64_t num_blocks = 0);

  // ---- drafts ----
  // Allocates blocks for the sequence's first drafts, as many as there is room for; those of a tree beside its trunk
  // get branches. Returns their number.
  int64_t cover_drafts(Sequence& sequence, const DraftRoom& room);
  // The path to this draft holds: the blocks of the branches on it replace the sequence's own. Releases all others.
  void accept_branches(Sequence& sequence, int32_t draft);

  // ---- the host tier ----
  bool can_swap_out(const Sequence& sequence) const;
  int64_t num_to_swap(const Sequence& sequence) const;  // blocks
  void swap_out(Sequence& sequence, std::vector<StepPlan::Move>& moves);
  void swap_in(Sequence& sequence, std::vector<StepPlan::Move>& moves);
  // Frees all but the first num_blocks places.
  void release_host(Sequence& sequence, int64_t num_blocks = 0);
  // All moves up to this mark are complete, so the places that they read become free.
  void complete_moves(uint64_t mark);

  // ---- the prefix cache ----
  int64_t block_size() const { return options_.block_size; }
  // The longest cached prefix of at most num_blocks blocks.
  PrefixHit find_prefix(Sequence& sequence, int64_t num_blocks) const;
  // Publishes the sequence's blocks that are full of settled tokens.
  void publish(Sequence& sequence);

  // ---- blocks on their way to and from a store (kv_store_client.h) ----
  // A block that has become findable.
  struct Published {
    size_t group = 0;
    int32_t block = kNoBlock;
    PrefixHash parent;
    PrefixHash hash;
    std::span<const int32_t> tokens;
  };
  // `tell`: empty, or called for every block that publish() makes findable.
  void on_published(std::function<void(const Published&)> tell) { tell_published_ = std::move(tell); }
  // Of the sequence's prefixes of up to num_blocks blocks: [num_blocks + 1].
  std::span<const PrefixHash> hashes(Sequence& sequence, int64_t num_blocks) const;
  // The first block that a token at this position or later sees.
  int64_t first_block_seen(size_t group, int64_t position) const { return first_block(groups_[group], position); }
  // A block to be filled, held until take_back(). One must be available.
  int32_t lend(size_t group);
  // Holds a published block until take_back(); false when it is not published under this hash any more.
  bool lend_published(size_t group, int32_t block, const PrefixHash& hash);
  void take_back(size_t group, int32_t block);
  // A lent block was filled: it becomes findable.
  void publish_fetched(size_t group, int32_t block, const PrefixHash& parent, const PrefixHash& hash,
                       std::span<const int32_t> tokens);

  // CHECKs that `sequences` hold all blocks that are held and not lent, in every group and tier, and that none misses a
  // block that its next token sees. For tests, the simulator and idle moments.
  void check(std::span<const Sequence* const> sequences) const;

 private:
  struct Group {
    KvGroupOptions options;
    BlockManager blocks;
    std::vector<int32_t> free_host;
    struct PendingRead {
      uint64_t mark;
      int32_t place;
    };
    std::deque<PendingRead> pending_reads;  // places that incomplete moves read, in order of the marks
    int64_t num_lent = 0;
  };

  // The most blocks that a window and the tokens of a step touch, wherever they begin in a block.
  int64_t max_window_blocks(int64_t window) const { return blocks_for(window - 1 + options_.max_batch_tokens) + 1; }
  int64_t first_block(const Group& group, int64_t position) const;
  int64_t end_block(const Group& group, const Sequence& sequence, int64_t end) const;
  int64_t swapped_end(const Sequence& sequence) const { return blocks_for(sequence.num_computed_tokens); }
  std::span<const int32_t> tokens_of_block(const Sequence& sequence, int64_t index) const;
  void extend_hashes(Sequence& sequence, int64_t num_blocks) const;
  std::optional<int32_t> find(const Group& group, const Sequence& sequence, int64_t block) const;
  int64_t longest_prefix(Sequence& sequence, int64_t max_blocks) const;
  bool extend_to(std::vector<BlockTable>& tables, int64_t first_entry, int64_t position, int64_t num_reserved);
  void release_branches(Sequence& sequence);
  int64_t check_branches(size_t group, const Sequence& sequence) const;

  KvOptions options_;
  std::vector<Group> groups_;
  uint64_t next_mark_ = 1;
  std::function<void(const Published&)> tell_published_;
};

}  // namespace quire
