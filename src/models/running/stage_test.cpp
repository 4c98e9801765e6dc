// Models in stages, matrices in another format than the file's, and what an observer sees of their inputs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "models/layers/linear.h"
#include "models/loading/overlay_checkpoint.h"
#include "models/running/test_runner.h"

namespace quire {
namespace {

using test::append;
using test::as_bytes;
using test::kMaxContext;
using test::kVocab;
using test::same_bits;
using test::Sequence;
using test::sequence;
using test::table_names;
using test::tiny_gguf;
using test::TinyGguf;

constexpr size_t kRowFloats = 64;
constexpr int32_t kTokens = 40;

std::unique_ptr<ModelRunner> load(const Checkpoint& checkpoint, const std::string& table,
                                  std::optional<LayerRange> stage, std::optional<Format> format = {}) {
  const RunnerOptions options{.stage = stage,
                              .weight_format = format,
                              .num_threads = 2,
                              .max_batch_tokens = 64,
                              .max_sequences = 2,
                              .max_context = kMaxContext,
                              .num_blocks = 16};
  return ModelRunner::load(checkpoint, test::with_table(options, table));
}

Batch batch_of(Sequence& tokens, std::span<const float> residual, bool is_last) {
  Batch batch;
  append(batch, tokens, kTokens);
  batch.hidden_input.assign(residual.begin(), residual.end());
  if (is_last) return batch;
  batch.hidden_rows = batch.logit_rows;
  batch.logit_rows.clear();
  return batch;
}

// The logits of kTokens tokens, each stage loaded, run and gone before the next.
std::vector<float> run_stages(const Checkpoint& checkpoint, const std::string& table,
                              std::span<const LayerRange> stages, std::optional<Format> format = {}) {
  std::vector<float> rows;
  for (const LayerRange& stage : stages) {
    const auto runner = load(checkpoint, table, stage, format);
    EXPECT_EQ(runner->info().num_layers, stage.size());
    Sequence tokens = sequence(kTokens, 1, 0);
    const bool is_last = stage == stages.back();
    const std::span<const float> logits = runner->run(batch_of(tokens, rows, is_last));
    const std::span<const float> result = is_last ? logits : runner->hidden();
    rows.assign(result.begin(), result.end());
  }
  return rows;
}

const LayerRange kOneByOne[] = {{0, 1}, {1, 2}, {2, 3}, {3, 4}};
const LayerRange kTwoAndTwo[] = {{0, 2}, {2, 4}};
const LayerRange kWhole[] = {{0, 4}};

TEST(Stages, GiveTheBitsOfTheWholeModel) {
  const TinyGguf models[] = {{.layers = 4, .format = Format::kF16},
                             {.inner = 128, .layers = 4, .experts = 8, .experts_used = 3, .format = Format::kQ8_0}};
  for (const TinyGguf& model : models) {
    const std::string image = tiny_gguf(model);
    const auto checkpoint = Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf");
    for (const std::string& table : table_names()) {
      const auto whole = load(*checkpoint, table, {});
      const std::vector<float> expected = run(*whole, sequence(kTokens, 1, 0), kTokens);
      EXPECT_TRUE(same_bits(run_stages(*checkpoint, table, kOneByOne), expected)) << table;
      EXPECT_TRUE(same_bits(run_stages(*checkpoint, table, kTwoAndTwo), expected)) << table;
      EXPECT_TRUE(same_bits(run_stages(*checkpoint, table, kWhole), expected)) << table;
    }
  }
}

TEST(Stages, TakeTheMemoryOfTheirLayers) {
  const std::string image = tiny_gguf({.layers = 4});
  const auto checkpoint = Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf");
  const auto bytes_of = [&](LayerRange stage) {
    const MemoryPlan plan = ModelRunner::plan(*checkpoint, {.stage = stage, .device = "cpu", .num_blocks = 4});
    return std::pair(plan.weight_bytes, plan.kv_bytes);
  };
  const auto [one_weights, one_kv] = bytes_of({1, 2});
  const auto [two_weights, two_kv] = bytes_of({1, 3});
  EXPECT_EQ(two_weights, 2 * one_weights);
  EXPECT_EQ(two_kv, 2 * one_kv);
  EXPECT_EQ(test::error_of([&] { bytes_of({3, 5}); }), "tiny.gguf: layers 3 to 4 were asked of a model with 4");
}

// Stages without the embedding, which is not quantised.
TEST(WeightFormat, QuantisesToTheBlocksThatAFileWouldHave) {
  std::map<Format, std::unique_ptr<ModelRunner>> runners;
  const std::string floats = tiny_gguf({.inner = 128, .layers = 2});
  const std::string blocks = tiny_gguf({.inner = 128, .layers = 2, .format = Format::kQ8_0});
  const auto from = Checkpoint::from_gguf_bytes(as_bytes(floats), "floats.gguf");
  const auto to = Checkpoint::from_gguf_bytes(as_bytes(blocks), "blocks.gguf");
  std::vector<float> residual(kTokens * kRowFloats);
  for (size_t i = 0; i < residual.size(); ++i) residual[i] = std::sin(static_cast<float>(i));
  const auto logits_of = [&](const Checkpoint& checkpoint, std::optional<Format> format) {
    const auto runner = load(checkpoint, "reference", LayerRange{1, 2}, format);
    Sequence tokens = sequence(kTokens, 1, 0);
    const std::span<const float> logits = runner->run(batch_of(tokens, residual, /*is_last=*/true));
    return std::vector<float>(logits.begin(), logits.end());
  };
  EXPECT_TRUE(same_bits(logits_of(*from, Format::kQ8_0), logits_of(*to, {})));
  EXPECT_TRUE(same_bits(logits_of(*to, Format::kQ4_0), logits_of(*to, {}))) << "codes stay";
  EXPECT_FALSE(same_bits(logits_of(*to, Format::kF32), logits_of(*from, {})));
}

// Codes whose columns lie in another order too.
TEST(WeightFormat, MakesFloatsOfEveryScheme) {
  for (const char* name : {"gptq-act-order", "gptq-v2-moe", "awq-phi3", "w8a8-fp8"}) {
    const auto checkpoint = Checkpoint::open(std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/golden" / name);
    const auto plain = load(*checkpoint, "reference", {});
    const auto floats = load(*checkpoint, "reference", {}, Format::kF32);
    const std::vector<float> expected = run(*plain, sequence(20, 1, 0), 20);
    const std::vector<float> found = run(*floats, sequence(20, 1, 0), 20);
    float largest = 0.0f, worst = 0.0f;
    for (size_t i = 0; i < expected.size(); ++i) {
      largest = std::max(largest, std::abs(expected[i]));
      worst = std::max(worst, std::abs(expected[i] - found[i]));
    }
    EXPECT_LT(worst, 0.05f * largest) << name;
  }
}

class Recorder : public InputObserver {
 public:
  void observe(std::span<const Linear* const> matrices, const float* x, int64_t num_rows) override {
    for (const Linear* matrix : matrices) {
      std::vector<float>& rows = seen[matrix->name];
      rows.insert(rows.end(), x, x + num_rows * matrix->weights.cols);
    }
  }
  std::map<std::string, std::vector<float>> seen;
};

std::map<std::string, std::vector<float>> inputs_of(const Checkpoint& checkpoint, LayerRange stage) {
  const auto runner = load(checkpoint, "", stage, Format::kF32);
  Recorder recorder;
  runner->observe(&recorder);
  Sequence tokens = sequence(kTokens, 1, 0);
  runner->run(batch_of(tokens, {}, /*is_last=*/false));
  return recorder.seen;
}

TEST(InputObserver, SeesTheRowsOfEveryMatrix) {
  const std::string image = tiny_gguf({.inner = 96, .layers = 4, .format = Format::kQ8_0});
  const auto checkpoint = Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf");
  const auto seen = inputs_of(*checkpoint, {0, 1});
  ASSERT_EQ(seen.size(), 7u);
  const std::string layer = "model.layers.0.";
  for (const char* name : {"self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj"}) {
    EXPECT_EQ(seen.at(layer + name + ".weight").size(), kTokens * kRowFloats) << name;
  }
  EXPECT_EQ(seen.at(layer + "mlp.down_proj.weight").size(), kTokens * 96u);
  EXPECT_EQ(seen.at(layer + "self_attn.q_proj.weight"), seen.at(layer + "self_attn.v_proj.weight"));
}

TEST(InputObserver, SeesTheRowsThatChoseAnExpert) {
  constexpr int64_t kChosen = 3;
  const std::string image = tiny_gguf({.layers = 2, .experts = 8, .experts_used = kChosen, .format = Format::kF16});
  const auto checkpoint = Checkpoint::from_gguf_bytes(as_bytes(image), "tiny.gguf");
  const auto seen = inputs_of(*checkpoint, {0, 1});
  size_t num_inputs = 0;
  for (const auto& [name, rows] : seen) num_inputs += name.find("experts.") != std::string::npos ? rows.size() : 0;
  EXPECT_EQ(num_inputs, kTokens * kChosen * (2 * kRowFloats + 96));
}

TEST(OverlayCheckpoint, ReplacesAMatrixWhateverTensorsKeepIt) {
  const auto base = Checkpoint::open(std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/golden/gptq-act-order");
  OverlayCheckpoint overlay(*base);
  const auto logits = [&] { return run(*load(overlay, "reference", {}, Format::kF32), sequence(20, 1, 0), 20); };
  const std::vector<float> before = logits();
  const auto hidden = static_cast<int64_t>(base->config().at("hidden_size").to_number<int64_t>());
  const auto inner = static_cast<int64_t>(base->config().at("intermediate_size").to_number<int64_t>());
  overlay.replace("model.layers.0.mlp.down_proj.weight", {hidden, inner},
                  std::vector<float>(static_cast<size_t>(hidden * inner), 0.0f));
  EXPECT_FALSE(overlay.find_tensor("model.layers.0.mlp.down_proj.qweight"));
  EXPECT_FALSE(same_bits(logits(), before));
  overlay.clear();
  EXPECT_TRUE(same_bits(logits(), before));
}

}  // namespace
}  // namespace quire
