// A runner of a tiny model and sequences to feed it with, for tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "models/running/model_runner.h"
#include "models/running/test_backends.h"
#include "models/running/test_models.h"

namespace quire::test {

inline constexpr int64_t kVocab = 64;
inline constexpr int64_t kMaxContext = 128;

struct Loaded {
  Loaded(const TinyGguf& model, const std::string& isa, int num_threads, int num_ranks = 1,
         std::vector<int> tapped_layers = {})
      : image(tiny_gguf(model)), checkpoint(Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf")) {
    const RunnerOptions options{.num_threads = num_threads,
                                .tensor_parallel = num_ranks,
                                .max_batch_tokens = 160,
                                .max_sequences = 4,
                                .tapped_layers = std::move(tapped_layers),
                                .max_context = kMaxContext,
                                .num_blocks = 16,
                                .num_swap_blocks = 2};
    runner = ModelRunner::load(*checkpoint, test::with_table(options, isa));
  }
  std::string image;
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<ModelRunner> runner;
};

struct Sequence {
  std::vector<int32_t> tokens;
  BlockTable blocks;
  int64_t fed = 0;
};

inline Sequence sequence(int64_t length, int seed, int32_t first_block) {
  Sequence result;
  for (int64_t i = 0; i < length; ++i) result.tokens.push_back(static_cast<int32_t>((i * 7 + seed * 13 + i * i) % 63));
  result.blocks.resize(static_cast<size_t>(kMaxContext / kKvBlockSize));
  std::iota(result.blocks.begin(), result.blocks.end(), first_block);
  return result;
}

inline void append(Batch& batch, Sequence& sequence, int64_t count) {
  const auto row = static_cast<int32_t>(batch.token_ids.size());
  for (int32_t i = 0; i < count; ++i) {
    batch.token_ids.push_back(sequence.tokens[static_cast<size_t>(sequence.fed + i)]);
    batch.logit_rows.push_back(row + i);
  }
  batch.sequences.push_back(
      {.num_tokens = count, .first_position = sequence.fed, .block_tables = {&sequence.blocks, 1}});
  sequence.fed += count;
}

// Logits of all positions, fed in chunks.
inline std::vector<float> run(ModelRunner& runner, Sequence sequence, int64_t chunk) {
  std::vector<float> logits;
  while (sequence.fed < static_cast<int64_t>(sequence.tokens.size())) {
    Batch batch;
    append(batch, sequence, std::min(chunk, static_cast<int64_t>(sequence.tokens.size()) - sequence.fed));
    const std::span<const float> rows = runner.run(batch);
    logits.insert(logits.end(), rows.begin(), rows.end());
  }
  return logits;
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// `expected`: the logits of sequence(70, 1, ...), the same however it is cut, alone and last amid two others.
inline void expect_one_answer(ModelRunner& runner, std::span<const float> expected) {
  for (const int64_t chunk : {70, 1, 7, 64}) {
    EXPECT_TRUE(same_bits(run(runner, sequence(70, 1, 4), chunk), expected)) << "chunk " << chunk;
  }
  Sequence subject = sequence(70, 1, 8), first = sequence(60, 2, 0), second = sequence(90, 3, 4);
  std::vector<float> logits;
  for (const int64_t count : {33, 1, 36}) {
    Batch batch;
    append(batch, first, 20);
    append(batch, second, 30);
    append(batch, subject, count);
    const std::span<const float> rows = runner.run(batch).last(static_cast<size_t>(count * kVocab));
    logits.insert(logits.end(), rows.begin(), rows.end());
  }
  EXPECT_TRUE(same_bits(logits, expected)) << "in company";
}

}  // namespace quire::test
