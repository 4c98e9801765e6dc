#include "engine/kv_manager.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

int64_t num_entries(const BlockTable& table) { return static_cast<int64_t>(table.size()); }

// The first entry that is not empty; empty entries come first in a table.
int64_t first_held(const BlockTable& table) {
  const auto is_empty = [](int32_t block) { return block == kNoBlock; };
  return std::partition_point(table.begin(), table.end(), is_empty) - table.begin();
}

int64_t num_blocks_in(const BlockTable& table) { return num_entries(table) - first_held(table); }

// Removes the entries after the first num_kept, the last first.
template <typename Release>
void cut_table(BlockTable& table, int64_t num_kept, const Release& release) {
  while (num_entries(table) > num_kept) {
    if (table.back() != kNoBlock) release(table.back());
    table.pop_back();
  }
}

}  // namespace

KvManager::KvManager(KvOptions options) : options_(std::move(options)) {
  CHECK(options_.block_size > 0 && !options_.groups.empty());
  for (const KvGroupOptions& group : options_.groups) {
    std::vector<int32_t> free_host(static_cast<size_t>(group.num_host_blocks));
    std::iota(free_host.rbegin(), free_host.rend(), 0);
    groups_.push_back(
        {group, BlockManager(group.num_blocks, options_.block_size, options_.eviction), std::move(free_host), {}, 0});
  }
}

int64_t KvManager::first_block(const Group& group, int64_t position) const {
  const int64_t window = group.options.window;
  return window == 0 || position < window ? 0 : (position - window + 1) / options_.block_size;
}

// The number of entries of a table that covers tokens up to `end`.
int64_t KvManager::end_block(const Group& group, const Sequence& sequence, int64_t end) const {
  return blocks_for(group.options.window == 0 ? std::max(end, sequence.num_tokens()) : end);
}

int64_t KvManager::max_held_blocks(size_t group, int64_t num_tokens) const {
  const int64_t all = blocks_for(num_tokens);
  const int64_t window = groups_[group].options.window;
  return window == 0 ? all : std::min(all, blocks_for(window) + 2);
}

int64_t KvManager::max_extra_step_blocks(size_t group, int64_t num_tokens) const {
  const int64_t window = groups_[group].options.window;
  if (window == 0) return 0;
  return std::max<int64_t>(
      0, std::min(blocks_for(num_tokens), max_window_blocks(window)) - max_held_blocks(group, num_tokens));
}

bool KvManager::can_ever_hold(int64_t num_tokens) const {
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (max_held_blocks(g, num_tokens) + max_extra_step_blocks(g, num_tokens) > groups_[g].blocks.num_total())
      return false;
  }
  return true;
}

int64_t KvManager::longest_sequence() const {
  int64_t longest = std::numeric_limits<int64_t>::max();
  for (const Group& group : groups_) {
    const int64_t window = group.options.window;
    const int64_t num_blocks = group.blocks.num_total();
    const bool has_windows = window > 0 && num_blocks >= max_window_blocks(window);
    if (!has_windows) longest = std::min(longest, num_blocks * options_.block_size);
  }
  return longest;
}

int64_t KvManager::num_held(size_t group, const std::vector<BlockTable>& tables) const {
  return tables.empty() ? 0 : num_blocks_in(tables[group]);
}

int64_t KvManager::num_not_yet_held(size_t group, const Sequence& sequence) const {
  if (groups_[group].options.window == 0) return 0;
  return std::max<int64_t>(0, max_held_blocks(group, sequence.num_tokens()) - num_held(group, sequence.kv.tables));
}

int64_t KvManager::num_cached(size_t group, const PrefixHit& hit) const {
  if (hit.tables.empty()) return 0;
  const BlockManager& blocks = groups_[group].blocks;
  return std::ranges::count_if(hit.tables[group],
                               [&](int32_t block) { return block != kNoBlock && blocks.is_cached(block); });
}

int64_t KvManager::num_blocks_to_start(size_t group, const Sequence& sequence, const PrefixHit& hit,
                                       int64_t end) const {
  const int64_t first_step = end_block(groups_[group], sequence, end);
  return first_step - (sequence.kv.is_swapped() ? first_held(sequence.kv.host_tables[group]) : hit.num_blocks);
}

int64_t KvManager::num_blocks_to_cover(size_t group, const Sequence& sequence, int64_t end) const {
  return std::max<int64_t>(0, end_block(groups_[group], sequence, end) - num_entries(sequence.kv.tables[group]));
}

// ---- a sequence's blocks ----

void KvManager::release_before(Sequence& sequence, int64_t position) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    BlockTable& table = sequence.kv.tables[g];
    const int64_t end = std::min(first_block(groups_[g], position), num_entries(table));
    // All entries before an empty one are empty too.
    for (int64_t i = end - 1; i >= 0 && table[i] != kNoBlock; --i) {
      groups_[g].blocks.release(std::exchange(table[i], kNoBlock));
    }
  }
}

void KvManager::cover(Sequence& sequence, int64_t end) {
  sequence.kv.tables.resize(groups_.size());
  for (size_t g = 0; g < groups_.size(); ++g) {
    BlockTable& table = sequence.kv.tables[g];
    while (num_entries(table) < end_block(groups_[g], sequence, end)) {
      const std::optional<int32_t> block = groups_[g].blocks.allocate();
      CHECK(block.has_value());
      table.push_back(*block);
    }
  }
}

void KvManager::start_from(Sequence& sequence, const PrefixHit& hit) {
  sequence.kv.tables = hit.tables;
  sequence.kv.tables.resize(groups_.size());
  for (size_t g = 0; g < groups_.size(); ++g) {
    for (const int32_t block : sequence.kv.tables[g]) {
      if (block != kNoBlock) groups_[g].blocks.hold(block);
    }
  }
  sequence.kv.num_published = hit.num_blocks;
}

bool KvManager::is_shared(size_t group, const Sequence& sequence, int64_t position) const {
  const BlockTable& table = sequence.kv.tables[group];
  const int64_t index = position / options_.block_size;
  return index < num_entries(table) && groups_[group].blocks.is_shared(table[index]);
}

void KvManager::copy_on_write(Sequence& sequence, int64_t position, std::vector<StepPlan::Move>& moves) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (!is_shared(g, sequence, position)) continue;
    int32_t& entry = sequence.kv.tables[g][position / options_.block_size];
    const int32_t fresh = *groups_[g].blocks.allocate();
    moves.push_back({{static_cast<int>(g), {KvTier::kPool, entry}, {KvTier::kPool, fresh}}, next_mark_++});
    groups_[g].blocks.release(std::exchange(entry, fresh));
  }
}

void KvManager::share(const Sequence& parent, Sequence& child) {
  CHECK(parent.kv.branches.empty());
  child.kv = parent.kv;
  child.kv.host_tables.clear();
  for (size_t g = 0; g < child.kv.tables.size(); ++g) {
    for (const int32_t block : child.kv.tables[g]) {
      if (block != kNoBlock) groups_[g].blocks.hold(block);
    }
  }
}

void KvManager::release(Sequence& sequence, int64_t num_blocks) {
  for (size_t g = 0; g < sequence.kv.tables.size(); ++g) {
    cut_table(sequence.kv.tables[g], num_blocks, [&](int32_t block) { groups_[g].blocks.release(block); });
  }
  if (num_blocks > 0) return;
  sequence.kv.tables.clear();
  release_branches(sequence);
}

// ---- the host tier ----

int64_t KvManager::num_to_swap(const Sequence& sequence) const {
  int64_t count = 0;
  for (const BlockTable& table : sequence.kv.tables) count += swapped_end(sequence) - first_held(table);
  return count;
}

bool KvManager::can_swap_out(const Sequence& sequence) const {
  for (size_t g = 0; g < groups_.size(); ++g) {
    const int64_t count = swapped_end(sequence) - first_held(sequence.kv.tables[g]);
    if (count > static_cast<int64_t>(groups_[g].free_host.size())) return false;
  }
  return true;
}

void KvManager::swap_out(Sequence& sequence, std::vector<StepPlan::Move>& moves) {
  sequence.kv.host_tables.resize(groups_.size());
  for (size_t g = 0; g < groups_.size(); ++g) {
    for (int64_t i = 0; i < swapped_end(sequence); ++i) {
      const int32_t block = sequence.kv.tables[g][i];
      int32_t place = kNoBlock;
      if (block != kNoBlock) {
        place = groups_[g].free_host.back();
        groups_[g].free_host.pop_back();
        moves.push_back({{static_cast<int>(g), {KvTier::kPool, block}, {KvTier::kHost, place}}, next_mark_++});
      }
      sequence.kv.host_tables[g].push_back(place);
    }
  }
}

void KvManager::swap_in(Sequence& sequence, std::vector<StepPlan::Move>& moves) {
  sequence.kv.tables.resize(groups_.size());
  for (size_t g = 0; g < groups_.size(); ++g) {
    for (const int32_t place : sequence.kv.host_tables[g]) {
      int32_t block = kNoBlock;
      if (place != kNoBlock) {
        block = groups_[g].blocks.allocate().value();
        moves.push_back({{static_cast<int>(g), {KvTier::kHost, place}, {KvTier::kPool, block}}, next_mark_});
        groups_[g].pending_reads.push_back({next_mark_++, place});
      }
      sequence.kv.tables[g].push_back(block);
    }
  }
  sequence.kv.host_tables.clear();
}

void KvManager::release_host(Sequence& sequence, int64_t num_blocks) {
  for (size_t g = 0; g < sequence.kv.host_tables.size(); ++g) {
    cut_table(sequence.kv.host_tables[g], num_blocks, [&](int32_t place) { groups_[g].free_host.push_back(place); });
  }
  if (num_blocks == 0) sequence.kv.host_tables.clear();
}

void KvManager::complete_moves(uint64_t mark) {
  for (Group& group : groups_) {
    while (!group.pending_reads.empty() && group.pending_reads.front().mark <= mark) {
      group.free_host.push_back(group.pending_reads.front().place);
      group.pending_reads.pop_front();
    }
  }
}

// ---- the prefix cache ----

std::span<const int32_t> KvManager::tokens_of_block(const Sequence& sequence, int64_t index) const {
  return std::span(sequence.tokens).subspan(index * options_.block_size, options_.block_size);
}

void KvManager::extend_hashes(Sequence& sequence, int64_t num_blocks) const {
  std::vector<PrefixHash>& hashes = sequence.kv.hashes;
  // Equal tokens of longer and of shorter sequences may have different K and V.
  if (hashes.empty()) {
    hashes.push_back(prefix_root(options_.hash_key, sequence.cache_salt + (sequence.is_long ? "/long" : "/")));
  }
  while (static_cast<int64_t>(hashes.size()) <= num_blocks) {
    const auto tokens = tokens_of_block(sequence, static_cast<int64_t>(hashes.size()) - 1);
    hashes.push_back(extend_prefix(options_.hash_key, hashes.back(), tokens));
  }
}

std::optional<int32_t> KvManager::find(const Group& group, const Sequence& sequence, int64_t block) const {
  const std::vector<PrefixHash>& hashes = sequence.kv.hashes;
  return group.blocks.find(hashes[block], hashes[block + 1], tokens_of_block(sequence, block));
}

// The length in blocks of the longest prefix for which every group has the blocks that the token after it sees.
int64_t KvManager::longest_prefix(Sequence& sequence, int64_t max_blocks) const {
  std::vector<int64_t> first_known(groups_.size(), 0);  // blocks from here up to block i are cached
  int64_t longest = 0;
  for (int64_t i = 0; i < max_blocks; ++i) {
    extend_hashes(sequence, i + 1);
    bool is_whole = true;
    for (size_t g = 0; g < groups_.size(); ++g) {
      if (!find(groups_[g], sequence, i)) first_known[g] = i + 1;
      // A group without a window needs every block: after the first miss no longer prefix is possible.
      if (groups_[g].options.window == 0 && first_known[g] > 0) return longest;
      is_whole = is_whole && first_known[g] <= first_block(groups_[g], (i + 1) * options_.block_size);
    }
    if (is_whole) longest = i + 1;
  }
  return longest;
}

PrefixHit KvManager::find_prefix(Sequence& sequence, int64_t num_blocks) const {
  PrefixHit hit{.num_blocks = longest_prefix(sequence, num_blocks), .tables = {}};
  if (hit.num_blocks == 0) return hit;
  for (const Group& group : groups_) {
    BlockTable& table = hit.tables.emplace_back(static_cast<size_t>(hit.num_blocks), kNoBlock);
    for (int64_t i = first_block(group, hit.num_blocks * options_.block_size); i < hit.num_blocks; ++i) {
      table[i] = find(group, sequence, i).value();
    }
  }
  return hit;
}

void KvManager::publish(Sequence& sequence) {
  const int64_t full = sequence.num_settled_tokens / options_.block_size;
  for (int64_t i = sequence.kv.num_published; i < full; ++i) {
    extend_hashes(sequence, i + 1);
    const std::vector<PrefixHash>& hashes = sequence.kv.hashes;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const int32_t block = sequence.kv.tables[g][i];
      if (block == kNoBlock) continue;
      const auto tokens = tokens_of_block(sequence, i);
      const bool is_new = groups_[g].blocks.publish(block, hashes[i], hashes[i + 1], tokens);
      if (is_new && tell_published_) tell_published_({g, block, hashes[i], hashes[i + 1], tokens});
    }
  }
  sequence.kv.num_published = std::max(sequence.kv.num_published, full);
}

std::span<const PrefixHash> KvManager::hashes(Sequence& sequence, int64_t num_blocks) const {
  extend_hashes(sequence, num_blocks);
  return std::span(sequence.kv.hashes).first(static_cast<size_t>(num_blocks) + 1);
}

int32_t KvManager::lend(size_t group) {
  ++groups_[group].num_lent;
  return groups_[group].blocks.allocate().value();
}

bool KvManager::lend_published(size_t group, int32_t block, const PrefixHash& hash) {
  if (!groups_[group].blocks.is_published_as(block, hash)) return false;
  groups_[group].blocks.hold(block);
  ++groups_[group].num_lent;
  return true;
}

void KvManager::take_back(size_t group, int32_t block) {
  groups_[group].blocks.release(block);
  --groups_[group].num_lent;
}

void KvManager::publish_fetched(size_t group, int32_t block, const PrefixHash& parent, const PrefixHash& hash,
                                std::span<const int32_t> tokens) {
  groups_[group].blocks.publish(block, parent, hash, tokens);
}

void KvManager::check(std::span<const Sequence* const> sequences) const {
  for (size_t g = 0; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    group.blocks.check();
    int64_t held = group.num_lent;
    auto num_host = static_cast<int64_t>(group.free_host.size() + group.pending_reads.size());
    for (const Sequence* sequence : sequences) {
      num_host += num_held(g, sequence->kv.host_tables);
      if (sequence->kv.is_swapped()) {
        CHECK(num_entries(sequence->kv.host_tables[g]) == blocks_for(sequence->num_computed_tokens));
      }
      held += check_branches(g, *sequence);
      if (sequence->kv.tables.empty()) continue;
      const BlockTable& table = sequence->kv.tables[g];
      held += num_blocks_in(table);
      const auto seen = table.begin() + std::min(first_block(group, sequence->num_computed_tokens), num_entries(table));
      CHECK(std::find(seen, table.end(), kNoBlock) == table.end());
      CHECK(blocks_for(sequence->num_computed_tokens) <= num_entries(table));
    }
    CHECK(held == group.blocks.num_references());
    CHECK(num_host == group.options.num_host_blocks);
  }
}

}  // namespace quire
