// Drives a ModelRunner as the engine does, for tests: sequences with their own blocks, fed in slices.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"
#include "models/running/model_runner.h"

namespace quire::test {

// Allocates the blocks of every KV group of a runner, in ascending or shuffled order.
class BlockPool {
 public:
  // Seed 0: ascending; otherwise shuffled, every group in another order. `gives_back`: blocks before a group's window
  // are taken from their sequence and reused.
  BlockPool(const ModelRunner& runner, uint32_t seed, bool gives_back = true) : gives_back_(gives_back) {
    for (const KvGroupPlan& group : runner.plan().kv_groups) {
      std::vector<int32_t>& free = free_.emplace_back(static_cast<size_t>(group.num_blocks));
      std::iota(free.rbegin(), free.rend(), 0);
      if (seed != 0) std::shuffle(free.begin(), free.end(), std::mt19937(seed + static_cast<uint32_t>(free_.size())));
      groups_.push_back({.window = group.window});
    }
  }

  size_t num_groups() const { return groups_.size(); }
  // Extends the tables to positions [0, end) of a sequence that has computed `fed` of them.
  void prepare(std::vector<BlockTable>& tables, int64_t fed, int64_t end) {
    for (size_t g = 0; g < groups_.size(); ++g) {
      const int64_t first = gives_back_ ? groups_[g].first_block(fed) : 0;
      for (int64_t i = 0; i < first; ++i) {
        int32_t& entry = tables[g][static_cast<size_t>(i)];
        if (entry != kNoBlock) free_[g].push_back(std::exchange(entry, kNoBlock));
      }
      while (static_cast<int64_t>(tables[g].size()) < blocks_for(end)) {
        CHECK(!free_[g].empty());
        tables[g].push_back(free_[g].back());
        free_[g].pop_back();
      }
    }
  }

 private:
  bool gives_back_;
  std::vector<KvGroup> groups_;
  std::vector<std::vector<int32_t>> free_;  // of every group; the next one last
};

struct TestSequence {
  TestSequence(std::vector<int32_t> token_ids, BlockPool& block_pool)
      : tokens(std::move(token_ids)), pool(&block_pool), block_tables(block_pool.num_groups()) {}
  bool done() const { return fed == static_cast<int64_t>(tokens.size()); }

  std::vector<int32_t> tokens;
  BlockPool* pool;
  std::vector<BlockTable> block_tables;  // of every KV group
  int64_t fed = 0;                       // tokens already in the cache
};

struct Slice {
  TestSequence* sequence;
  int64_t num_tokens;
};

// One step; the logits of every row [rows of all slices, vocab], valid until the next.
inline std::span<const float> step(ModelRunner& runner, std::span<const Slice> slices) {
  Batch batch;
  const int64_t rope_switch = runner.info().rope_switch_length;
  for (const Slice& slice : slices) {
    TestSequence& sequence = *slice.sequence;
    const auto first = sequence.tokens.begin() + sequence.fed;
    batch.token_ids.insert(batch.token_ids.end(), first, first + slice.num_tokens);
    sequence.pool->prepare(sequence.block_tables, sequence.fed, sequence.fed + slice.num_tokens);
    batch.sequences.push_back({.num_tokens = slice.num_tokens,
                               .first_position = sequence.fed,
                               .block_tables = sequence.block_tables,
                               .is_long = rope_switch > 0 && std::ssize(sequence.tokens) > rope_switch});
    sequence.fed += slice.num_tokens;
  }
  batch.logit_rows.resize(batch.token_ids.size());
  std::iota(batch.logit_rows.begin(), batch.logit_rows.end(), 0);
  return runner.run(batch);
}

// Runs the whole sequence alone, the slices as long as `sizes` says, the last of them repeated: {33, 1} is a prefill of
// 33 tokens and then token by token. Logits of all positions [tokens, vocab].
inline std::vector<float> run_alone(ModelRunner& runner, TestSequence sequence, std::vector<int64_t> sizes) {
  std::vector<float> logits;
  for (size_t i = 0; !sequence.done(); ++i) {
    const int64_t left = static_cast<int64_t>(sequence.tokens.size()) - sequence.fed;
    const Slice slice{&sequence, std::min(left, sizes[std::min(i, sizes.size() - 1)])};
    const std::span<const float> rows = step(runner, {&slice, 1});
    logits.insert(logits.end(), rows.begin(), rows.end());
  }
  return logits;
}

}  // namespace quire::test
