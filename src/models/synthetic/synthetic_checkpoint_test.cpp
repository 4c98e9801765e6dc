#include "models/synthetic/synthetic_checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>

#include "base/error.h"
#include "models/running/model_runner.h"

namespace quire {
namespace {

constexpr auto kHoles = SyntheticContent::kHoles;

TEST(ModelShapes, EveryShapeIsOfAModelThisBuildRuns) {
  std::set<std::string> names;
  for (const ModelShape& shape : model_shapes()) {
    EXPECT_TRUE(names.insert(shape.name).second) << shape.name;
    const auto checkpoint = open_synthetic(shape, "Q4_0", kHoles);
    const ModelInfo info = ModelRunner::info(*checkpoint);
    EXPECT_EQ(info.num_layers, shape.layers) << shape.name;
    EXPECT_EQ(info.vocab_size, shape.vocab) << shape.name;
    EXPECT_EQ(info.num_experts, shape.experts) << shape.name;
    EXPECT_EQ(info.head_dim, shape.head_dim) << shape.name;
  }
  EXPECT_THROW(model_shape("llama-9"), Error);
}

// Published counts of parameters, in millions.
TEST(ModelShapes, HaveThePublishedNumberOfParameters) {
  const std::pair<const char*, double> published[] = {
      {"tinyllama-1.1b", 1100.0}, {"llama-3.2-1b", 1235.8}, {"llama-3.1-8b", 8030.3}, {"smollm2-135m", 134.5},
      {"qwen2.5-0.5b", 494.0},    {"qwen3-0.6b", 596.0},    {"gemma-3-1b", 999.9},    {"qwen3-30b-a3b", 30532.0}};
  for (const auto& [name, millions] : published) {
    const auto checkpoint = open_synthetic(model_shape(name), "Q8_0", kHoles);
    const auto found = static_cast<double>(ModelRunner::info(*checkpoint).num_parameters);
    EXPECT_NEAR(found / 1e6 / millions, 1.0, 2e-3) << name;
  }
}

TEST(SyntheticCheckpoint, ChoosesFormatsAsQuantisersDo) {
  const auto format = [](const char* shape, const char* weights, const char* tensor) {
    const auto checkpoint = open_synthetic(model_shape(shape), weights, kHoles);
    return std::string(weight_format(checkpoint->tensor(tensor).format).name);
  };
  const char* const query = "model.layers.0.self_attn.q_proj.weight";
  EXPECT_EQ(format("tinyllama-1.1b", "Q4_0", query), "Q4_0");
  EXPECT_EQ(format("tinyllama-1.1b", "Q4_0", "lm_head.weight"), "Q6_K");
  EXPECT_EQ(format("tinyllama-1.1b", "Q4_0", "model.embed_tokens.weight"), "Q4_0");
  EXPECT_EQ(format("tinyllama-1.1b", "F16", "lm_head.weight"), "F16");
  EXPECT_EQ(format("llama-3.2-1b", "Q4_0", "model.embed_tokens.weight"), "Q6_K");
  EXPECT_EQ(format("qwen2.5-0.5b", "Q4_K", query), "Q5_0");  // rows of 896
  EXPECT_EQ(format("qwen2.5-0.5b", "Q4_K", "model.layers.0.mlp.down_proj.weight"), "Q4_K");
  EXPECT_EQ(format("tinyllama-1.1b", "Q4_K_M", "model.layers.0.mlp.down_proj.weight"), "Q6_K");
  EXPECT_EQ(format("tinyllama-1.1b", "Q4_K_M", "model.layers.3.mlp.down_proj.weight"), "Q4_K");
}

TEST(SyntheticCheckpoint, ComputesFiniteLogitsOfItsOwn) {
  const auto checkpoint = open_synthetic(model_shape("tiny"), "Q4_K_M");
  const auto runner = ModelRunner::load(*checkpoint, {.num_threads = 1, .max_context = 64});
  const BlockTable table = {0, 1};
  Batch batch;
  batch.token_ids = {3, 7};
  batch.sequences = {{.num_tokens = 2, .first_position = 0, .block_tables = {&table, 1}}};
  batch.logit_rows = {0, 1};
  float least = 0, most = 0;
  for (const float logit : runner->run(batch)) {
    ASSERT_TRUE(std::isfinite(logit));
    least = std::min(least, logit);
    most = std::max(most, logit);
  }
  EXPECT_LT(least, most);
}

TEST(SyntheticCheckpoint, RefusesUnknownFormats) {
  for (const char* weights : {"", "Q4", "I8", "q4_0"}) {
    EXPECT_THROW(open_synthetic(model_shape("tiny"), weights, kHoles), Error) << weights;
  }
}

}  // namespace
}  // namespace quire
