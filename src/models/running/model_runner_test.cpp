// One answer and its neighbours on small synthetic models, under every kernel table this machine runs.
#include "models/running/model_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "models/running/test_runner.h"

namespace quire {
namespace {

using test::append;
using test::as_bytes;
using test::expect_one_answer;
using test::kVocab;
using test::Loaded;
using test::run;
using test::same_bits;
using test::Sequence;
using test::sequence;
using test::table_names;
using test::tiny_gguf;
using test::TinyGguf;

const TinyGguf kModels[] = {
    {.format = Format::kF16},
    {.inner = 128, .format = Format::kQ8_0},
    {.architecture = "llama", .inner = 128, .experts = 8, .experts_used = 3, .format = Format::kQ8_0},
    {.architecture = "qwen3moe", .experts = 8, .qk_norm = true},
};

// (model, kernel table, ranks)
class RunnerTest : public testing::TestWithParam<std::tuple<size_t, std::string, int>> {
 protected:
  const TinyGguf& model() const { return kModels[std::get<0>(GetParam())]; }
  const std::string& isa() const { return std::get<1>(GetParam()); }
  int ranks() const { return std::get<2>(GetParam()); }
};

TEST_P(RunnerTest, OneAnswer) {
  std::vector<float> expected;
  for (const int num_threads : isa() == "cuda" ? std::vector{2} : std::vector{1, 2, 3}) {
    Loaded loaded(model(), isa(), num_threads, ranks());
    ModelRunner& runner = *loaded.runner;
    if (expected.empty()) expected = run(runner, sequence(70, 1, 0), 70);
    SCOPED_TRACE(num_threads);
    expect_one_answer(runner, expected);
  }
}

TEST_P(RunnerTest, LogitsOfSomeRowsAreThoseOfAll) {
  Loaded loaded(model(), isa(), 2, ranks());
  const std::vector<float> all = run(*loaded.runner, sequence(40, 1, 0), 40);
  Sequence part = sequence(40, 1, 4);
  Batch batch;
  append(batch, part, 40);
  batch.logit_rows = {3, 17, 39};
  const std::span<const float> some = loaded.runner->run(batch);
  ASSERT_EQ(some.size(), 3u * kVocab);
  for (size_t i = 0; i < 3; ++i) {
    const auto row = static_cast<size_t>(batch.logit_rows[i]);
    EXPECT_TRUE(same_bits(some.subspan(i * kVocab, kVocab), std::span(all).subspan(row * kVocab, kVocab)));
  }
  batch.logit_rows.clear();
  EXPECT_TRUE(loaded.runner->run(batch).empty());
}

constexpr int64_t kHidden = 64;

// Whether rows `from` of all hidden states are these.
void expect_rows(std::span<const float> some, std::span<const float> all, std::span<const int32_t> rows, size_t width) {
  ASSERT_EQ(some.size(), rows.size() * width);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<size_t>(rows[i]);
    EXPECT_TRUE(same_bits(some.subspan(i * width, width), all.subspan(row * width, width))) << row;
  }
}

TEST_P(RunnerTest, HiddenStatesOfSomeRowsAreThoseOfAllWithLogitsOrWithout) {
  Loaded loaded(model(), isa(), 2, ranks());
  Batch batch;
  Sequence first = sequence(40, 1, 0);
  append(batch, first, 40);
  std::vector<int32_t> rows(40);
  std::iota(rows.begin(), rows.end(), 0);
  batch.hidden_rows = rows;
  const std::span<const float> logits = loaded.runner->run(batch);
  const std::vector<float> all_logits(logits.begin(), logits.end());
  const std::vector<float> all(loaded.runner->hidden().begin(), loaded.runner->hidden().end());
  ASSERT_EQ(all.size(), 40u * kHidden);
  struct Wanted {
    std::vector<int32_t> logit_rows;
    std::vector<int32_t> hidden_rows;
  };
  for (const auto& [logit_rows, hidden_rows] : {Wanted{{}, {39}}, Wanted{{3, 17, 39}, {2, 3, 20, 39}},
                                                Wanted{{3, 17}, {3, 17}}, Wanted{{39}, rows}, Wanted{{1}, {}}}) {
    Batch some;
    Sequence again = sequence(40, 1, 4);
    append(some, again, 40);
    some.logit_rows = logit_rows;
    some.hidden_rows = hidden_rows;
    expect_rows(loaded.runner->run(some), all_logits, logit_rows, kVocab);
    expect_rows(loaded.runner->hidden(), all, hidden_rows, kHidden);
  }
}

TEST_P(RunnerTest, TappedLayersAreTheSameInAnyBatch) {
  Loaded loaded(model(), isa(), 2, ranks(), {0, 1});
  const auto plain = run(*Loaded(model(), isa(), 2, ranks()).runner, sequence(40, 1, 0), 40);
  std::vector<int32_t> rows(40);
  std::iota(rows.begin(), rows.end(), 0);
  Batch batch;
  Sequence first = sequence(40, 1, 0);
  append(batch, first, 40);
  batch.tapped_rows = rows;
  EXPECT_TRUE(same_bits(loaded.runner->run(batch), plain)) << "taps change logits";
  const std::vector<float> all(loaded.runner->tapped().begin(), loaded.runner->tapped().end());
  ASSERT_EQ(all.size(), 40u * 2 * kHidden);
  Sequence alone = sequence(40, 1, 4), other = sequence(30, 2, 8);
  for (int32_t at = 0; at < 40; at += 10) {
    Batch part;
    append(part, other, 5);
    append(part, alone, 10);
    part.logit_rows.clear();
    part.tapped_rows = {5, 8, 14};
    part.hidden_rows = {7};
    loaded.runner->run(part);
    expect_rows(loaded.runner->tapped(), all, std::vector<int32_t>{at, at + 3, at + 9}, 2 * kHidden);
    EXPECT_EQ(loaded.runner->hidden().size(), static_cast<size_t>(kHidden));
  }
}

// Before the first layer it is the embedding; before the second what a model of one layer has in the end.
TEST(TappedLayers, AreTheResidualStreamBeforeThem) {
  constexpr float kEps = 1e-5f;
  for (const std::string& table : table_names()) {
    Loaded loaded({.layers = 2}, table, 2, 1, {0, 1}), one({.layers = 1}, table, 2);
    Batch batch;
    Sequence tokens = sequence(20, 1, 0);
    append(batch, tokens, 20);
    batch.tapped_rows = batch.hidden_rows = {0, 7, 19};
    loaded.runner->run(batch);
    const std::span<const float> tapped = loaded.runner->tapped();
    batch.tapped_rows.clear();
    one.runner->run(batch);
    const std::span<const float> expected = one.runner->hidden();
    const TensorView embedding = loaded.checkpoint->tensor("model.embed_tokens.weight");
    const TensorView norm = loaded.checkpoint->tensor("model.norm.weight");
    for (size_t i = 0; i < 3; ++i) {
      const auto token = batch.token_ids[static_cast<size_t>(batch.hidden_rows[i])];
      const std::span<const float> first = tapped.subspan(2 * i * kHidden, kHidden);
      EXPECT_EQ(std::memcmp(first.data(), embedding.row(token), first.size_bytes()), 0);
      const std::span<const float> second = tapped.subspan((2 * i + 1) * kHidden, kHidden);
      float squares = 0.0f;
      for (const float x : second) squares += x * x;
      const float scale = 1.0f / std::sqrt(squares / kHidden + kEps);
      for (size_t k = 0; k < second.size(); ++k) {
        float weight = 0.0f;
        std::memcpy(&weight, norm.data + k * sizeof(float), sizeof(float));
        EXPECT_NEAR(second[k] * scale * weight, expected[i * kHidden + k], 1e-4f) << table;
      }
    }
  }
}

TEST(TappedLayers, MustBeLayersInOrder) {
  EXPECT_EQ(test::error_of([] {
              Loaded({}, "reference", 1, 1, {1, 2});
            }),
            "the tapped layers are 1, 2, expected ascending numbers from 0 to 1");
  EXPECT_EQ(test::error_of([] {
              Loaded({}, "reference", 1, 1, {1, 1});
            }),
            "the tapped layers are 1, 1, expected ascending numbers from 0 to 1");
}

TEST_P(RunnerTest, CopiedBlocksGiveTheSameLogits) {
  Loaded loaded(model(), isa(), 2, ranks());
  Sequence original = sequence(60, 1, 0);
  const std::vector<float> expected = run(*loaded.runner, original, 60);
  for (int32_t block = 0; block < 2; ++block) loaded.runner->copy_block(block, block + 8);
  Sequence copy = sequence(60, 1, 8);
  copy.fed = 59;
  EXPECT_TRUE(same_bits(run(*loaded.runner, copy, 1), std::span(expected).last(kVocab)));
}

INSTANTIATE_TEST_SUITE_P(Models, RunnerTest,
                         testing::Combine(testing::Range(size_t{0}, std::size(kModels)),
                                          testing::ValuesIn(table_names()), testing::Values(1, 2)),
                         [](const auto& tested) {
                           return std::to_string(std::get<0>(tested.param)) + "_" + std::get<1>(tested.param) + "_" +
                                  std::to_string(std::get<2>(tested.param));
                         });

// A model whose embedding of one token is NaN: whoever uses it has NaN logits, and nobody else.
class NanTest : public testing::TestWithParam<std::string> {};

TEST_P(NanTest, StaysWithItsSequence) {
  constexpr int32_t kPoison = 63;
  for (const TinyGguf& model : kModels) {
    Loaded loaded({.architecture = model.architecture,
                   .experts = model.experts,
                   .qk_norm = model.qk_norm,
                   .poisoned_token = kPoison},
                  GetParam(), 2);
    ModelRunner& runner = *loaded.runner;
    const std::vector<float> expected = run(runner, sequence(40, 1, 0), 40);
    EXPECT_TRUE(std::all_of(expected.begin(), expected.end(), [](float x) { return std::isfinite(x); }));

    Sequence clean = sequence(40, 1, 4), poisoned = sequence(40, 2, 8);
    poisoned.tokens[5] = kPoison;
    Batch batch;
    append(batch, poisoned, 40);
    append(batch, clean, 40);
    const std::span<const float> logits = runner.run(batch);
    EXPECT_TRUE(std::isnan(logits[5 * kVocab]));
    EXPECT_TRUE(same_bits(logits.last(expected.size()), expected));
    // The blocks it filled with NaN serve the next owner.
    EXPECT_TRUE(same_bits(run(runner, sequence(40, 1, 8), 7), expected));
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, NanTest, testing::ValuesIn(table_names()),
                         [](const auto& tested) { return tested.param; });

// Greedy tokens of three sequences, 40 steps of them; each step is started before the tokens of the last are known, or
// after.
std::vector<int32_t> greedy_tokens(ModelRunner& runner, bool ahead) {
  std::vector<Sequence> sequences = {sequence(20, 1, 0), sequence(31, 2, 4), sequence(5, 3, 8)};
  std::vector<int32_t> all;
  Batch batch;
  for (Sequence& prompt : sequences) append(batch, prompt, static_cast<int64_t>(prompt.tokens.size()));
  batch.logit_rows = {19, 50, 55};
  batch.sampling.resize(3);
  runner.start(batch);
  for (int step = 0; step < 40; ++step) {
    const auto take = [&] {
      EXPECT_TRUE(runner.finish().empty());
      all.insert(all.end(), runner.tokens().begin(), runner.tokens().end());
    };
    if (!ahead) take();
    batch.clear();
    for (size_t i = 0; i < sequences.size(); ++i) {
      // In another order each time, so that rows do not stay where they were.
      const size_t turn = (i + static_cast<size_t>(step) + 1) % 3;
      const size_t row = (turn + 3 - static_cast<size_t>(step) % 3) % 3;
      sequences[turn].tokens.push_back(ahead ? chosen_token(static_cast<int64_t>(row)) : all[all.size() - 3 + row]);
      append(batch, sequences[turn], 1);
    }
    batch.sampling.resize(3);
    runner.start(batch);
    if (ahead) take();
  }
  runner.finish();
  all.insert(all.end(), runner.tokens().begin(), runner.tokens().end());
  return all;
}

TEST(RunAhead, StepsStartBeforeTheirTokensAreKnown) {
  if (!test::has_cuda()) GTEST_SKIP() << "no CUDA device, and none emulated";
  for (const auto& [format, ranks] :
       {std::pair{Format::kF32, 1}, {Format::kF16, 1}, {Format::kQ8_0, 1}, {Format::kF16, 2}}) {
    Loaded loaded({.format = format}, "cuda", 2, ranks);
    ASSERT_TRUE(loaded.runner->runs_ahead());
    const std::vector<int32_t> expected = greedy_tokens(*loaded.runner, false);
    EXPECT_EQ(expected.size(), 123u);
    EXPECT_EQ(greedy_tokens(*loaded.runner, true), expected);
    EXPECT_EQ(greedy_tokens(*loaded.runner, true), expected) << "of steps that are all recorded";
  }
}

// The head's own matrix where the model ties them.
TEST(Load, EmbeddingsOnADeviceAreWeights) {
  if (!test::has_cuda()) GTEST_SKIP() << "no CUDA device, and none emulated";
  const auto plan_of = [](const TinyGguf& model, const std::string& table) {
    const std::string image = tiny_gguf(model);
    const auto checkpoint = Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf");
    return ModelRunner::plan(*checkpoint, test::with_table({.max_context = 64}, table));
  };
  const TinyGguf untied{.format = Format::kF32};
  const TinyGguf tied{.format = Format::kF32, .leave_out = "output.weight"};
  constexpr uint64_t kMatrixBytes = kVocab * 64 * sizeof(float);
  EXPECT_EQ(plan_of(untied, "cuda").weight_bytes, plan_of(tied, "cuda").weight_bytes + kMatrixBytes);
  EXPECT_EQ(plan_of(untied, "cuda").mapped_bytes, 0u);
  EXPECT_EQ(plan_of(untied, "reference").mapped_bytes, kMatrixBytes);
  EXPECT_EQ(plan_of(tied, "reference").mapped_bytes, kMatrixBytes);
}

TEST(RunAhead, TheHostNeverRunsAhead) {
  for (const std::string& name : table_names()) {
    EXPECT_EQ(Loaded({}, name, 1).runner->runs_ahead(), name == "cuda") << name;
  }
}

std::string load_error(const TinyGguf& model, const RunnerOptions& options) {
  const std::string image = tiny_gguf(model);
  const auto checkpoint = Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf");
  try {
    (void)ModelRunner::load(*checkpoint, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Load, RefusesModelsThatDoNotFitInFiveLines) {
  const std::string error = load_error({}, {.memory_bytes = 1 << 20});
  EXPECT_NE(error.find("tiny.gguf does not fit: it needs "), std::string::npos) << error;
  EXPECT_LE(std::count(error.begin(), error.end(), '\n') + 1, 5) << error;
}

TEST(Load, RefusesABrokenFile) {
  EXPECT_TRUE(load_error({.leave_out = "blk.1.attn_v.weight"}, {})
                  .starts_with("tiny.gguf: tensor \"model.layers.1.self_attn.v_proj.weight\" is missing"));
  EXPECT_EQ(load_error({.misshape = "blk.0.ffn_up.weight"}, {}),
            "tiny.gguf: tensor \"model.layers.0.mlp.up_proj.weight\" has the shape [97, 64], expected [96, 64] from "
            "the configuration");
  EXPECT_NE(load_error({.experts = 4, .leave_out = "blk.1.ffn_up_exps.weight"}, {}).find("experts.0.w3.weight"),
            std::string::npos);
  EXPECT_NE(load_error({.experts = 4, .experts_used = 5}, {}).find("\"num_experts_per_tok\" is 5, expected 1 to 4"),
            std::string::npos);
}

TEST(Load, RefusesImpossibleOptions) {
  EXPECT_NE(load_error({}, {.max_batch_tokens = 0}), "no error");
  EXPECT_NE(load_error({}, {.max_sequences = -1}), "no error");
  EXPECT_NE(load_error({}, {.k_format = Format::kQ6_K}), "no error");
  EXPECT_NE(load_error({}, {.isa = "abacus"}), "no error");
}

TEST(Load, ReportsProgressAndWhatWasChosen) {
  const std::string image = tiny_gguf({});
  const auto checkpoint = Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf");
  uint64_t last = 0;
  uint64_t total = 0;
  const auto runner = ModelRunner::load(*checkpoint, {.num_threads = 1, .max_sequences = 2},
                                        [&](uint64_t done_bytes, uint64_t total_bytes) {
                                          EXPECT_GE(done_bytes, last);
                                          last = done_bytes;
                                          total = total_bytes;
                                        });
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, runner->plan().weight_bytes);
  EXPECT_EQ(runner->options().max_context, 256);
  EXPECT_EQ(runner->options().num_blocks, 2 * 8);
  EXPECT_EQ(runner->options().isa, runner->isa());
  EXPECT_TRUE(runner->plan().fits);
}

}  // namespace
}  // namespace quire
