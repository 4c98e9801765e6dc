// Branches of a batch: every token of a tree has the logits, to the bit, of the same token at the end of a plain
// sequence, beside other trees and other sequences, for every kernel table this machine runs; and the blocks of a
// branch serve as the sequence's own afterwards.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <filesystem>
#include <numeric>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "models/loading/checkpoint.h"
#include "models/running/model_runner.h"
#include "models/running/test_backends.h"
#include "runner_driver.h"

namespace quire {
namespace {

using test::BlockPool;
using test::Slice;
using test::TestSequence;

struct Subject {
  const char* checkpoint;  // under tests/golden
  Format kv_format;
  int num_ranks = 1;
};

const Subject kSubjects[] = {
    {"llama3-gqa-tied", Format::kF32}, {"llama3-gqa-tied", Format::kF16, 2},
    {"gemma2", Format::kF16},  // windows and softcaps
    {"gemma2", Format::kF8_E4M3},      {"gemma2", Format::kQ4_0},
    {"gemma3", Format::kBF16},         // more windows than full layers
    {"mistral-window", Format::kF16},  // nothing but windows
    {"phi3-window", Format::kQ8_0},    {"qwen3moe", Format::kQ8_0},
    {"llama-mqa-bias", Format::kF16},
};

// Tokens in depth-first order.
struct Tree {
  std::vector<int32_t> tokens;
  std::vector<int> parents;  // -1: the sequence's last known token

  int num_nodes() const { return static_cast<int>(tokens.size()); }
  bool is_leaf(int node) const { return node + 1 == num_nodes() || parents[static_cast<size_t>(node) + 1] != node; }
  std::vector<int> path_to(int node) const {
    std::vector<int> path;
    for (; node >= 0; node = parents[static_cast<size_t>(node)]) path.insert(path.begin(), node);
    return path;
  }
};

Tree random_tree(int num_nodes, std::mt19937& random) {
  Tree tree;
  std::vector<int> path = {-1};
  for (int i = 0; i < num_nodes; ++i) {
    if (i > 0 && random() % 3 == 0) path.resize(1 + random() % path.size());
    tree.parents.push_back(path.back());
    tree.tokens.push_back(static_cast<int32_t>((random() + static_cast<uint32_t>(i)) % 96));
    path.push_back(i);
  }
  return tree;
}

std::vector<int32_t> random_tokens(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 96);
  return tokens;
}

// A sequence and a tree after its tokens, as a part of one step.
class Part {
 public:
  Part(int64_t num_known, int num_nodes, uint32_t seed, BlockPool& pool)
      : sequence_(random_tokens(num_known, seed), pool), pool_(&pool) {
    std::mt19937 random(seed);
    tree_ = random_tree(num_nodes, random);
  }

  TestSequence& sequence() { return sequence_; }
  const Tree& tree() const { return tree_; }
  int64_t row_of(int node) const { return first_row_ + num_new_ + node; }

  // The tokens that are not fed yet, and the tree.
  void append_to(Batch& batch) {
    first_row_ = static_cast<int64_t>(batch.token_ids.size());
    num_new_ = static_cast<int64_t>(sequence_.tokens.size()) - sequence_.fed;
    batch.token_ids.insert(batch.token_ids.end(), sequence_.tokens.end() - num_new_, sequence_.tokens.end());
    batch.token_ids.insert(batch.token_ids.end(), tree_.tokens.begin(), tree_.tokens.end());
    const size_t main = batch.sequences.size();
    batch.sequences.push_back({.num_tokens = num_new_, .first_position = sequence_.fed});
    for (size_t i = 0; i < tree_.tokens.size(); ++i) {
      const int parent = tree_.parents[i];
      if (parent != static_cast<int>(i) - 1) {
        const size_t other = parent < 0 ? main : entries_[static_cast<size_t>(parent)];
        const int64_t depth = std::ssize(tree_.path_to(static_cast<int>(i))) - 1;
        batch.sequences.push_back(
            {.first_position = std::ssize(sequence_.tokens) + depth, .branch_of = static_cast<int32_t>(other)});
      }
      ++batch.sequences.back().num_tokens;
      entries_.push_back(batch.sequences.size() - 1);
    }
    Batch::Sequence& own = batch.sequences[main];
    pool_->prepare(sequence_.block_tables, sequence_.fed, own.first_position + own.num_tokens);
    own.block_tables = sequence_.block_tables;
    for (size_t entry = main + 1; entry < batch.sequences.size(); ++entry) {
      Batch::Sequence& branch = batch.sequences[entry];
      std::vector<BlockTable>& tables = branch_tables_.emplace_back(pool_->num_groups());
      const int64_t begin = branch.first_position / kKvBlockSize * kKvBlockSize;
      pool_->prepare(tables, 0, branch.first_position + branch.num_tokens - begin);
      branch.block_tables = tables;
    }
    entries_.insert(entries_.begin(), main);
  }

  // The path to the node becomes the sequence's: tokens and blocks.
  void accept(int node, const Batch& batch) {
    const int64_t known = std::ssize(sequence_.tokens);
    const size_t main = entries_[0];
    for (const int at : tree_.path_to(node)) {
      sequence_.tokens.push_back(tree_.tokens[static_cast<size_t>(at)]);
      const size_t entry = entries_[static_cast<size_t>(at) + 1];
      if (entry == main) continue;
      const std::vector<BlockTable>& tables = branch_tables_[entry - main - 1];
      const auto first = static_cast<size_t>(batch.sequences[entry].first_position / kKvBlockSize);
      for (size_t g = 0; g < tables.size(); ++g) {
        BlockTable& own = sequence_.block_tables[g];
        own.resize(std::max(own.size(), first + tables[g].size()));
        std::ranges::copy(tables[g], own.begin() + static_cast<std::ptrdiff_t>(first));
      }
    }
    sequence_.fed = known + std::ssize(tree_.path_to(node));
  }

 private:
  TestSequence sequence_;
  BlockPool* pool_;
  Tree tree_;
  std::deque<std::vector<BlockTable>> branch_tables_;
  std::vector<size_t> entries_;  // of the batch: the sequence's, then each node's
  int64_t first_row_ = 0;
  int64_t num_new_ = 0;
};

class BranchesTest : public testing::TestWithParam<std::tuple<Subject, std::string>> {
 protected:
  std::unique_ptr<ModelRunner> load() {
    const auto& [subject, table] = GetParam();
    checkpoint_ = Checkpoint::open(std::filesystem::path(QUIRE_SOURCE_DIR) / "tests" / "golden" / subject.checkpoint);
    const RunnerOptions options{.num_threads = 2,
                                .tensor_parallel = subject.num_ranks,
                                .max_batch_tokens = 512,
                                .max_sequences = 4,
                                .max_branches = 40,
                                .max_context = 128,
                                .num_blocks = 256,
                                .k_format = subject.kv_format,
                                .v_format = subject.kv_format};
    return ModelRunner::load(*checkpoint_, test::with_table(options, table));
  }

  static bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
  }

 private:
  std::unique_ptr<Checkpoint> checkpoint_;
};

// Trees after 1, 30 (over the end of a block), 64 and 75 tokens, all of which but some are in the cache before.
TEST_P(BranchesTest, TheBitsOfPlainSequences) {
  const auto runner = load();
  const auto vocab = static_cast<size_t>(runner->info().vocab_size);
  const auto plain = [&](std::vector<int32_t> tokens) {
    BlockPool pool(*runner, 3);
    return test::run_alone(*runner, TestSequence(std::move(tokens), pool), {50});
  };
  for (const uint32_t seed : {1, 2}) {
    BlockPool pool(*runner, seed);
    std::deque<Part> parts;
    const auto add = [&](int64_t num_known, int64_t num_fed, int num_nodes) {
      Part& part = parts.emplace_back(num_known, num_nodes, seed * 10 + static_cast<uint32_t>(num_known), pool);
      const Slice slice{&part.sequence(), num_fed};
      if (num_fed > 0) test::step(*runner, {&slice, 1});
    };
    add(1, 0, 5);
    add(30, 29, 16);
    add(64, 63, 9);
    add(75, 70, 12);
    Batch batch;
    for (Part& part : parts) part.append_to(batch);
    batch.logit_rows.resize(batch.token_ids.size());
    std::iota(batch.logit_rows.begin(), batch.logit_rows.end(), 0);
    const std::span<const float> rows = runner->run(batch);
    const std::vector<float> logits(rows.begin(), rows.end());

    std::mt19937 random(seed);
    for (Part& part : parts) {
      const Tree& tree = part.tree();
      const size_t num_known = part.sequence().tokens.size();
      for (int leaf = 0; leaf < tree.num_nodes(); ++leaf) {
        if (!tree.is_leaf(leaf)) continue;
        const std::vector<int> path = tree.path_to(leaf);
        std::vector<int32_t> tokens = part.sequence().tokens;
        for (const int node : path) tokens.push_back(tree.tokens[static_cast<size_t>(node)]);
        const std::vector<float> alone = plain(tokens);
        for (size_t i = 0; i < path.size(); ++i) {
          const auto row = static_cast<size_t>(part.row_of(path[i]));
          ASSERT_TRUE(same_bits(std::span(logits).subspan(row * vocab, vocab),
                                std::span(alone).subspan((num_known + i) * vocab, vocab)))
              << "node " << path[i] << " after " << num_known << " tokens";
        }
      }
      part.accept(static_cast<int>(random() % static_cast<uint32_t>(tree.num_nodes())), batch);
      const int64_t num_accepted = part.sequence().fed;
      for (const int32_t token : {5, 17, 3}) part.sequence().tokens.push_back(token);
      const std::vector<float> alone = plain(part.sequence().tokens);
      for (int64_t p = num_accepted; p < num_accepted + 3; ++p) {
        const Slice slice{&part.sequence(), 1};
        ASSERT_TRUE(same_bits(test::step(*runner, {&slice, 1}),
                              std::span(alone).subspan(static_cast<size_t>(p) * vocab, vocab)))
            << "position " << p;
      }
    }
  }
}

std::string test_name(const testing::TestParamInfo<BranchesTest::ParamType>& info) {
  const auto& [subject, table] = info.param;
  std::string name = std::string(subject.checkpoint) + "_" + weight_format(subject.kv_format).name + "_" +
                     std::to_string(subject.num_ranks) + "_" + table;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Runner, BranchesTest,
                         testing::Combine(testing::ValuesIn(kSubjects), testing::ValuesIn(test::table_names())),
                         test_name);

}  // namespace
}  // namespace quire
