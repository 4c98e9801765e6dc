// Drives a ModelRunner as the engine does, for tests: sequences with blocks of their own, fed in slices.
#pragma once

#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "base/check.h"
#include "models/running/model_runner.h"

namespace quire::test {

// Hands out every block of a pool once, in an order of its own.
class BlockPool {
 public:
  // Seed 0: ascending; otherwise shuffled.
  BlockPool(int64_t num_blocks, uint32_t seed) : blocks_(static_cast<size_t>(num_blocks)) {
    std::iota(blocks_.rbegin(), blocks_.rend(), 0);
    if (seed != 0) std::shuffle(blocks_.begin(), blocks_.end(), std::mt19937(seed));
  }
  int32_t take() {
    CHECK(!blocks_.empty());
    const int32_t block = blocks_.back();
    blocks_.pop_back();
    return block;
  }

 private:
  std::vector<int32_t> blocks_;  // the next one last
};

struct TestSequence {
  TestSequence(std::vector<int32_t> token_ids, BlockPool& pool, int64_t limit = 0)
      : tokens(std::move(token_ids)), length_limit(limit) {
    for (size_t i = 0; i < tokens.size(); i += kKvBlockSize) block_table.push_back(pool.take());
  }
  bool done() const { return fed == static_cast<int64_t>(tokens.size()); }

  std::vector<int32_t> tokens;
  std::vector<int32_t> block_table;
  int64_t length_limit;
  int64_t fed = 0;  // tokens already in the cache
};

struct Slice {
  TestSequence* sequence;
  int64_t num_tokens;
};

// One step; the logits of every row [rows of all slices, vocab], valid until the next.
inline std::span<const float> step(ModelRunner& runner, std::span<const Slice> slices) {
  Batch batch;
  for (const Slice& slice : slices) {
    TestSequence& sequence = *slice.sequence;
    const auto first = sequence.tokens.begin() + sequence.fed;
    batch.token_ids.insert(batch.token_ids.end(), first, first + slice.num_tokens);
    const int64_t blocks = (sequence.fed + slice.num_tokens + kKvBlockSize - 1) / kKvBlockSize;
    batch.sequences.push_back({.num_tokens = slice.num_tokens,
                               .first_position = sequence.fed,
                               .block_table = std::span(sequence.block_table).first(static_cast<size_t>(blocks)),
                               .length_limit = sequence.length_limit});
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
