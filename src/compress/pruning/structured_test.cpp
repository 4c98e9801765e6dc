// Structured pruning: parts that add nothing leave, and the smaller checkpoint says what the original said.
#include "compress/pruning/structured.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "base/error.h"
#include "models/running/test_runner.h"

namespace quire {
namespace {

using test::TinyDirectory;

// The tensors of a Llama of four layers and its configuration, to be run from a directory.
struct TinyLlama {
  json::object config = {{"model_type", "llama"},
                         {"architectures", {"LlamaForCausalLM"}},
                         {"num_hidden_layers", 4},
                         {"num_attention_heads", 6},
                         {"num_key_value_heads", 3},
                         {"head_dim", 16},
                         {"hidden_size", 64},
                         {"intermediate_size", 96},
                         {"vocab_size", test::kVocab},
                         {"rms_norm_eps", 1e-5},
                         {"max_position_embeddings", 256},
                         {"tie_word_embeddings", false}};
  struct Tensor {
    std::vector<int64_t> shape;
    std::vector<float> values;

    FloatMatrix matrix() const { return {values, shape[0], shape.size() == 2 ? shape[1] : 1}; }
  };
  std::map<std::string, Tensor> tensors;

  void add(const std::string& name, std::vector<int64_t> shape, std::mt19937& random) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    std::normal_distribution<float> normal(shape.size() == 1 ? 1.0f : 0.0f, 0.15f);
    Tensor tensor{std::move(shape), std::vector<float>(static_cast<size_t>(count))};
    for (float& value : tensor.values) value = normal(random);
    tensors[name] = std::move(tensor);
  }
  void fill() {
    std::mt19937 random(5);
    add("model.embed_tokens.weight", {test::kVocab, 64}, random);
    add("lm_head.weight", {test::kVocab, 64}, random);
    add("model.norm.weight", {64}, random);
    for (int i = 0; i < 4; ++i) {
      const std::string layer = "model.layers." + std::to_string(i) + ".";
      add(layer + "input_layernorm.weight", {64}, random);
      add(layer + "post_attention_layernorm.weight", {64}, random);
      add(layer + "self_attn.q_proj.weight", {96, 64}, random);
      add(layer + "self_attn.k_proj.weight", {48, 64}, random);
      add(layer + "self_attn.v_proj.weight", {48, 64}, random);
      add(layer + "self_attn.o_proj.weight", {64, 96}, random);
      add(layer + "mlp.gate_proj.weight", {96, 64}, random);
      add(layer + "mlp.up_proj.weight", {96, 64}, random);
      add(layer + "mlp.down_proj.weight", {64, 96}, random);
    }
  }
  // Column c of a matrix becomes zeros.
  void mute(const std::string& name, int64_t column) {
    Tensor& tensor = tensors.at(name);
    for (int64_t row = 0; row < tensor.shape[0]; ++row) {
      tensor.values[static_cast<size_t>(row * tensor.shape[1] + column)] = 0;
    }
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : tensors) names.push_back(name);
    return names;
  }

  std::vector<float> logits() const {
    std::vector<TinyDirectory::Tensor> files;
    for (const auto& [name, tensor] : tensors) {
      files.push_back({name,
                       "F32",
                       tensor.shape,
                       {reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * sizeof(float)}});
    }
    const TinyDirectory directory(config, files);
    const auto checkpoint = Checkpoint::open(directory.path());
    const RunnerOptions options{
        .max_batch_tokens = 64, .max_sequences = 1, .max_context = test::kMaxContext, .num_blocks = 16};
    const auto runner = ModelRunner::load(*checkpoint, test::with_table(options, ""));
    return test::run(*runner, test::sequence(40, 1, 0), 40);
  }
};

TinyLlama shrink(const TinyLlama& from, const KeptParts& kept) {
  TinyLlama smaller{.config = shrink_config(from.config, kept), .tensors = {}};
  for (const TensorSlice& slice : plan_slices(from.names(), decoder_shape(from.config), kept)) {
    const TinyLlama::Tensor& tensor = from.tensors.at(slice.from);
    TinyLlama::Tensor taken{tensor.shape, take_slice(tensor.matrix(), slice)};
    if (!slice.rows.empty()) taken.shape[0] = std::ssize(slice.rows);
    if (!slice.cols.empty()) taken.shape[1] = std::ssize(slice.cols);
    smaller.tensors[slice.to] = std::move(taken);
  }
  return smaller;
}

// The original with layers, KV groups and channels that add nothing; which ones differs by layer.
TEST(Structured, PartsThatAddNothingLeaveNoTrace) {
  TinyLlama original;
  original.fill();
  KeptParts kept = all_parts(decoder_shape(original.config));
  kept.layers.clear();
  for (const int i : {0, 1, 3}) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const int32_t group = i % 3;
    for (int64_t c = 0; c < 32; ++c) original.mute(layer + "self_attn.o_proj.weight", 32 * group + c);
    KeptLayer part{.layer = i, .kv_groups = {}, .channels = {}};
    for (int32_t g = 0; g < 3; ++g) {
      if (g != group) part.kv_groups.push_back(g);
    }
    for (int32_t c = 0; c < 96; ++c) {
      if (c % 3 == i % 3) {
        original.mute(layer + "mlp.down_proj.weight", c);
      } else {
        part.channels.push_back(c);
      }
    }
    kept.layers.push_back(part);
  }
  for (int64_t c = 0; c < 96; ++c) {
    original.mute("model.layers.2.self_attn.o_proj.weight", c);
    original.mute("model.layers.2.mlp.down_proj.weight", c);
  }
  const TinyLlama smaller = shrink(original, kept);
  EXPECT_EQ(smaller.tensors.size(), 3u + 3 * 9);
  EXPECT_EQ(smaller.tensors.at("model.layers.2.self_attn.q_proj.weight").shape, (std::vector<int64_t>{64, 64}));
  EXPECT_EQ(smaller.tensors.at("model.layers.2.mlp.down_proj.weight").shape, (std::vector<int64_t>{64, 64}));
  const std::vector<float> want = original.logits();
  const std::vector<float> found = smaller.logits();
  ASSERT_EQ(found.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(found[i], want[i], 1e-4) << i;
}

// Dimensions leave every tensor alike, and the model runs.
TEST(Structured, ANarrowerStreamRuns) {
  TinyLlama original;
  original.fill();
  KeptParts kept = all_parts(decoder_shape(original.config));
  std::erase_if(kept.hidden, [](int32_t i) { return i % 2 == 1; });
  const TinyLlama smaller = shrink(original, kept);
  EXPECT_EQ(smaller.tensors.at("model.embed_tokens.weight").shape, (std::vector<int64_t>{test::kVocab, 32}));
  EXPECT_EQ(smaller.tensors.at("model.layers.1.self_attn.o_proj.weight").shape, (std::vector<int64_t>{32, 96}));
  EXPECT_EQ(smaller.tensors.at("model.norm.weight").values[3], original.tensors.at("model.norm.weight").values[6]);
  for (const float logit : smaller.logits()) ASSERT_TRUE(std::isfinite(logit));
}

TEST(Structured, RefusesTensorsThatItDoesNotKnow) {
  const DecoderShape shape{.layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 4, .hidden = 8, .inner = 8};
  const std::vector<std::string> names = {"model.layers.0.mlp.experts.gate_up_proj"};
  EXPECT_THROW(plan_slices(names, shape, all_parts(shape)), Error);
}

TEST(Structured, Importance) {
  const std::vector<float> before = {1, 0, 0, 2};
  const std::vector<float> after = {2, 0, 2, 0};  // the first row keeps its direction, the second turns by 90 degrees
  EXPECT_NEAR(block_influence(before, after, 2), 0.5, 1e-12);
  EXPECT_NEAR(block_influence(before, before, 2), 0, 1e-12);
  const std::vector<float> weights = {1, 2, 3, 4, -1, 2, 0, 1};
  const InputStatistics input{.cols = 4, .num_rows = 2, .square_sums = {1, 1, 2, 0.5f}};
  const std::vector<double> columns = column_importance({weights, 2, 4}, input);
  EXPECT_EQ(columns, (std::vector<double>{2, 8, 18, 8.5}));
  EXPECT_EQ(sum_in_groups(columns, 2), (std::vector<double>{10, 26.5}));
  EXPECT_EQ(most_important(columns, 2), (std::vector<int32_t>{2, 3}));
  EXPECT_EQ(most_important(std::vector<double>{1, 1, 1}, 2), (std::vector<int32_t>{0, 1}));
}

}  // namespace
}  // namespace quire
