// Trees of drafts over a real (tiny) model: whichever path holds, no answer changes, be it greedy or sampled, alone or
// in a batch, preempted, with a known prefix, with windows or on a device.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>

#include "engine/engine.h"
#include "models/running/test_backends.h"

namespace quire {
namespace {

constexpr int32_t kVocab = 96;
constexpr int kRequests = 16;

GenerateRequest request(int index) {
  GenerateRequest out;
  for (int i = 0; i < 3 + 7 * (index % 9); ++i) out.prompt.push_back((index * 31 + i * 17) % kVocab);
  out.max_tokens = 64 + index % 5;
  out.sampling.temperature = index % 2 == 0 ? 0.0f : 10.0f;  // the logits of these models are far apart
  out.sampling.seed = 100 + index;
  if (index % 4 == 1) out.sampling.repetition_penalty = 1.5f;
  if (index % 4 == 3) out.sampling.top_k = 8;
  if (index % 5 == 4) out.stop_token_ids = {17, 18, 19};
  return out;
}

using Answers = std::vector<std::vector<int32_t>>;

// By sequence and position.
using HiddenStates = std::map<std::pair<uint64_t, int64_t>, std::vector<float>>;

// Reads the hidden states of all tokens and proposes nothing.
class Reader : public Drafter {
 public:
  explicit Reader(HiddenStates& states) : states_(states) {}
  void propose(std::span<DraftRequest> /*requests*/) override {}
  HiddenUse hidden_use() const override { return HiddenUse::kAll; }
  void observe(std::span<const HiddenRows> all) override {
    for (const HiddenRows& rows : all) {
      const size_t width = rows.hidden.size() / static_cast<size_t>(rows.num_rows);
      for (int64_t i = 0; i < rows.num_rows; ++i) {
        const std::span<const float> row = rows.hidden.subspan(static_cast<size_t>(i) * width, width);
        states_[{rows.sequence, rows.first_position + i}].assign(row.begin(), row.end());
      }
    }
  }

 private:
  HiddenStates& states_;
};

// Knows the answers and proposes random trees that have the next tokens on some path, up to some depth, or not at all.
class TreeDrafter : public Drafter {
 public:
  TreeDrafter(Answers answers, uint32_t seed) : answers_(std::move(answers)), random_(seed) {}

  void propose(std::span<DraftRequest> requests) override {
    for (DraftRequest& asked : requests) propose(asked);
  }

 private:
  void propose(DraftRequest& asked) {
    const std::vector<int32_t> truth = truth_of(asked);
    Drafts& drafts = *asked.drafts;
    struct Node {
      int32_t draft;
      size_t num_right;  // tokens of the path, while all of them are
      bool is_right;
    };
    std::vector<Node> path = {{-1, 0, true}};
    const int num_drafts = 1 + below(asked.max_drafts);
    const int right_of_eight = below(8);
    for (int32_t i = 0; i < num_drafts; ++i) {
      if (below(3) == 0) path.resize(1 + static_cast<size_t>(below(static_cast<int>(path.size()))));
      const auto [parent, depth, is_on_path] = path.back();
      const bool is_right = is_on_path && depth < truth.size() && below(8) < right_of_eight &&
                            drafts.find_child(parent, truth[depth]) < 0;
      int32_t token = is_right ? truth[depth] : below(kVocab);
      while (drafts.find_child(parent, token) >= 0) token = (token + 1) % kVocab;
      drafts.tokens.push_back(token);
      drafts.parents.push_back(parent);
      path.push_back({i, depth + 1, is_on_path && depth < truth.size() && token == truth[depth]});
    }
  }

  // What follows the known tokens.
  std::vector<int32_t> truth_of(const DraftRequest& asked) const {
    for (int i = 0; i < static_cast<int>(answers_.size()); ++i) {
      const std::vector<int32_t> prompt = request(i).prompt;
      if (std::ssize(prompt) != asked.num_prompt_tokens) continue;
      if (!std::equal(prompt.begin(), prompt.end(), asked.tokens.begin())) continue;
      const std::vector<int32_t>& all = answers_[static_cast<size_t>(i)];
      return {all.begin() + (std::ssize(asked.tokens) - asked.num_prompt_tokens), all.end()};
    }
    ADD_FAILURE() << "a prompt that nobody asked for";
    return {};
  }

  int below(int n) { return static_cast<int>(random_() % static_cast<uint32_t>(n)); }

  const Answers answers_;
  std::mt19937 random_;
};

class ReadingTreeDrafter : public TreeDrafter {
 public:
  ReadingTreeDrafter(Answers answers, uint32_t seed, HiddenStates& states)
      : TreeDrafter(std::move(answers), seed), reader_(states) {}
  HiddenUse hidden_use() const override { return HiddenUse::kAll; }
  void observe(std::span<const HiddenRows> rows) override { reader_.observe(rows); }

 private:
  Reader reader_;
};

struct Setting {
  std::string name;
  int64_t max_batch_tokens = 256;
  int64_t max_sequences = 16;
  int64_t max_branches = 64;
  int64_t num_blocks = 160;
  int64_t num_swap_blocks = 0;
  bool adaptive = false;
};

struct Subject {
  const char* checkpoint;  // under tests/golden
  Format kv_format = Format::kF16;
  std::string table = {};    // empty: the best
  bool is_preempted = true;  // with few blocks; not when windows need no more of them
};

class DraftTrees : public testing::TestWithParam<Subject> {
 protected:
  std::unique_ptr<Engine> make_engine(const Setting& setting, std::unique_ptr<Drafter> drafter = nullptr) {
    RunnerOptions runner{.num_threads = 2,
                         .max_batch_tokens = setting.max_batch_tokens,
                         .max_sequences = setting.max_sequences,
                         .max_branches = setting.max_branches,
                         .max_context = 128,
                         .num_blocks = setting.num_blocks,
                         .k_format = GetParam().kv_format,
                         .v_format = GetParam().kv_format,
                         .num_swap_blocks = setting.num_swap_blocks};
    if (!GetParam().table.empty()) runner = test::with_table(runner, GetParam().table);
    EngineOptions options;
    options.speculation.adaptive = setting.adaptive;
    options.speculation.max_drafts = 12;
    options.scheduler.preemption = setting.num_swap_blocks > 0 ? Preemption::kSwap : Preemption::kRecompute;
    return std::make_unique<Engine>(ModelRunner::load(*checkpoint_, runner), std::move(options), std::move(drafter));
  }

  // The emulation takes its time: half of the requests have every kind of them, and shorter answers cross blocks too.
  bool is_cuda() const { return GetParam().table == "cuda"; }
  int num_requests() const { return is_cuda() ? kRequests / 2 : kRequests; }

  Answers answers(Engine& engine, int first, int last) const {
    std::vector<std::shared_ptr<OutputStream>> streams;
    for (int i = first; i < last; ++i) {
      GenerateRequest asked = request(i);
      if (is_cuda()) asked.max_tokens -= 24;
      streams.push_back(engine.submit(std::move(asked)).stream);
    }
    while (engine.step()) engine.scheduler().check();
    for (size_t g = 0; g < engine.scheduler().kv().num_groups(); ++g) {
      EXPECT_EQ(engine.scheduler().blocks(g).num_active(), 0);
    }
    Answers all;
    for (const auto& stream : streams) {
      std::vector<int32_t>& tokens = all.emplace_back();
      while (const auto event = stream->try_next()) {
        if (event->has_token) tokens.push_back(event->token.id);
      }
    }
    return all;
  }

  std::unique_ptr<Checkpoint> checkpoint_ =
      Checkpoint::open(std::string(QUIRE_SOURCE_DIR) + "/tests/golden/" + GetParam().checkpoint);
};

TEST_P(DraftTrees, ChangeNoAnswer) {
  Answers plain;
  auto alone = make_engine({.name = "alone", .max_sequences = 1});
  for (int i = 0; i < num_requests(); ++i) plain.push_back(answers(*alone, i, i + 1)[0]);
  const Setting settings[] = {
      {.name = "alone", .max_sequences = 1},
      {.name = "a batch of 16"},
      {.name = "few branches", .max_branches = 5},
      {.name = "no branches", .max_branches = 0},
      {.name = "as many drafts as pay", .adaptive = true},
      {.name = "preempted by recompute", .max_sequences = 8, .num_blocks = 7},
      {.name = "preempted by swap", .max_sequences = 8, .num_blocks = 7, .num_swap_blocks = 40},
  };
  uint32_t seed = 0;
  for (const Setting& setting : settings) {
    if (is_cuda() && setting.name != "a batch of 16") continue;
    auto engine = make_engine(setting, std::make_unique<TreeDrafter>(plain, ++seed));
    for (const bool is_cached : {false, true}) {
      const Answers given = answers(*engine, 0, num_requests());
      for (size_t i = 0; i < given.size(); ++i) {
        EXPECT_EQ(given[i], plain[i]) << setting.name << ", request " << i << (is_cached ? ", its prefix known" : "");
      }
    }
    EXPECT_EQ(engine->scheduler().num_preemptions() > 0, GetParam().is_preempted && setting.num_blocks < 160)
        << setting.name;
    const EngineStatus status = engine->status();
    if (setting.adaptive) continue;  // how many drafts pay depends on the machine
    EXPECT_GT(status.accepted_tokens, 100) << setting.name;
    EXPECT_GT(status.draft_tokens, status.accepted_tokens) << setting.name;
  }
}

TEST_P(DraftTrees, HiddenStatesAreThoseOfTheAcceptedPath) {
  HiddenStates plain;
  HiddenStates with_trees;
  // Every token has a row of logits and one of hidden states at most.
  const Setting setting{.name = "a batch of 16", .max_batch_tokens = 1024};
  const Answers expected = answers(*make_engine(setting, std::make_unique<Reader>(plain)), 0, num_requests());
  auto engine = make_engine(setting, std::make_unique<ReadingTreeDrafter>(expected, 1, with_trees));
  EXPECT_EQ(answers(*engine, 0, num_requests()), expected);
  EXPECT_GT(engine->status().accepted_tokens, 50);
  EXPECT_EQ(with_trees.size(), plain.size());
  EXPECT_TRUE(with_trees == plain);
}

std::vector<Subject> subjects() {
  std::vector<Subject> all = {{"llama3-gqa-tied"},
                              {"llama3-gqa-tied", Format::kQ8_0},
                              {"gemma2"},  // layers with windows and without
                              {"gemma3", Format::kQ4_0},
                              {"mistral-window", Format::kF16, {}, false},  // nothing but windows
                              {"phi3-longrope"}};                           // a RoPE switch
  if (test::has_cuda()) all.push_back({"gemma2", Format::kF16, "cuda"});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Models, DraftTrees, testing::ValuesIn(subjects()), [](const auto& tested) {
  std::string name =
      std::string(tested.param.checkpoint) + weight_format(tested.param.kv_format).name + tested.param.table;
  std::erase_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); });
  return name;
});

}  // namespace
}  // namespace quire
