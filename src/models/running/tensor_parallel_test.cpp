// Several ranks against one, under every kernel table this machine runs. That several give one answer among themselves
// is model_runner_test's.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <optional>
#include <random>

#include "models/running/test_runner.h"

namespace quire {
namespace {

using test::append;
using test::error_of;
using test::kVocab;
using test::Loaded;
using test::same_bits;
using test::Sequence;
using test::TinyGguf;

// The largest difference, as a part of the range.
double difference(const std::vector<float>& logits, const std::vector<float>& reference) {
  const auto [low, high] = std::ranges::minmax(reference);
  double largest = logits.size() == reference.size() ? 0.0 : 1.0;
  for (size_t i = 0; i < std::min(logits.size(), reference.size()); ++i) {
    const double d = std::abs(double{logits[i]} - reference[i]) / (double{high} - low);
    if (!(d <= largest)) largest = d;
  }
  return largest;
}

class TensorParallelTest : public testing::TestWithParam<std::string> {
 protected:
  bool on_device() const { return test::is_cuda(GetParam()); }
};

TEST_P(TensorParallelTest, RanksAgreeWithOne) {
  const TinyGguf models[] = {
      {.format = Format::kF32},
      {.inner = 128, .kv_heads = 4, .format = Format::kF16},
      {.architecture = "qwen3", .qk_norm = true},
      {.architecture = "qwen3moe", .experts = 8, .qk_norm = true},
      {.inner = 128, .experts = 4, .format = Format::kF32},
  };
  for (const TinyGguf& model : models) {
    const std::vector<float> one = test::run(*Loaded(model, GetParam(), 2).runner, test::sequence(70, 1, 0), 64);
    // Sums in another order, after which some of K and V round to another F16; a device makes rows of bf16 for F16.
    const double bound = on_device() && model.format == Format::kF16 ? 1e-2 : 1e-4;
    EXPECT_LE(difference(test::run(*Loaded(model, GetParam(), 2, 2).runner, test::sequence(70, 1, 0), 64), one), bound)
        << model.architecture << " " << model.experts;
  }
}

TEST_P(TensorParallelTest, FourRanksRunSomeThreadsEach) {
  if (on_device()) GTEST_SKIP() << "more than two GPUs give up one answer";
  const TinyGguf model{.heads = 8, .kv_heads = 4};
  const std::vector<float> one = test::run(*Loaded(model, GetParam(), 1).runner, test::sequence(70, 1, 0), 33);
  std::vector<float> four;
  for (const int num_threads : {1, 4, 9}) {
    const Loaded loaded(model, GetParam(), num_threads, 4);
    EXPECT_EQ(loaded.runner->options().num_threads, num_threads);
    const std::vector<float> logits = test::run(*loaded.runner, test::sequence(70, 1, 0), 33);
    EXPECT_LE(difference(logits, one), 1e-4);
    if (four.empty()) four = logits;
    EXPECT_TRUE(same_bits(logits, four)) << num_threads;
  }
}

TEST_P(TensorParallelTest, BlocksMoveOnAllRanks) {
  const Loaded loaded({}, GetParam(), 2, 2);
  ModelRunner& runner = *loaded.runner;
  const std::vector<float> expected = test::run(runner, test::sequence(60, 1, 0), 60);
  for (int32_t block = 0; block < 2; ++block) runner.swap_out(block, block);
  test::run(runner, test::sequence(60, 2, 0), 60);  // others use them meanwhile
  for (int32_t block = 0; block < 2; ++block) runner.swap_in(block, block + 4);
  runner.wait();
  Sequence again = test::sequence(60, 1, 4);
  again.fed = 59;
  EXPECT_TRUE(same_bits(test::run(runner, again, 1), std::span(expected).last(kVocab)));
}

TEST_P(TensorParallelTest, HiddenStatesAreTheWholeModels) {
  const auto hidden_of = [&](int num_ranks) {
    const Loaded loaded({}, GetParam(), 2, num_ranks);
    Sequence sequence = test::sequence(40, 1, 0);
    Batch batch;
    append(batch, sequence, 40);
    batch.logit_rows = {5};
    batch.hidden_rows = {39};
    loaded.runner->run(batch);
    const std::span<const float> hidden = loaded.runner->hidden();
    return std::vector<float>(hidden.begin(), hidden.end());
  };
  EXPECT_LE(difference(hidden_of(2), hidden_of(1)), 1e-4);
}

TEST_P(TensorParallelTest, EndsWithAStepInFlight) {
  const Loaded loaded({}, GetParam(), 2, 2);
  Sequence sequence = test::sequence(40, 1, 0);
  Batch batch;
  append(batch, sequence, 40);
  loaded.runner->start(batch);
}

TEST_P(TensorParallelTest, ThePlanAddsUp) {
  const auto plan_of = [&](const TinyGguf& model, int num_ranks) {
    return Loaded(model, GetParam(), 2, num_ranks).runner->plan();
  };
  const TinyGguf model{.heads = 4, .kv_heads = 2};
  const MemoryPlan one = plan_of(model, 1);
  const MemoryPlan two = plan_of(model, 2);
  EXPECT_EQ(one.num_ranks, 1);
  EXPECT_EQ(one.rank_bytes, one.total_bytes - one.mapped_bytes);
  EXPECT_EQ(two.num_ranks, 2);
  EXPECT_EQ(two.kv_bytes, one.kv_bytes);
  EXPECT_EQ(two.kv_bytes_per_token, one.kv_bytes_per_token);
  EXPECT_EQ(two.mapped_bytes, one.mapped_bytes);
  EXPECT_EQ(two.total_bytes, 2 * two.rank_bytes + two.mapped_bytes);
  EXPECT_LT(two.rank_bytes, one.rank_bytes);
  // What is not divided: head, norms, and on a device embeddings. Tiles round up.
  EXPECT_GE(two.weight_bytes, one.weight_bytes);
  EXPECT_LT(two.weight_bytes, 2 * one.weight_bytes);
}

// Two layers in a Hugging Face directory of random F32 tensors.
class RandomDirectory {
 public:
  RandomDirectory(json::object config, const std::vector<std::pair<std::string, std::vector<int64_t>>>& of_a_layer) {
    add("model.embed_tokens.weight", {kVocab, 64});
    add("lm_head.weight", {kVocab, 64});
    add("model.norm.weight", {64});
    for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
      for (const auto& [name, shape] : of_a_layer) add(layer + name, shape);
      add(layer + "input_layernorm.weight", {64});
      add(layer + "post_attention_layernorm.weight", {64});
    }
    const json::object sizes = {{"vocab_size", kVocab},         {"hidden_size", 64},
                                {"intermediate_size", 96},      {"num_hidden_layers", 2},
                                {"num_attention_heads", 4},     {"num_key_value_heads", 2},
                                {"tie_word_embeddings", false}, {"max_position_embeddings", 256}};
    for (const auto& [key, value] : sizes) config[key] = value;
    directory_.emplace(config, tensors_);
  }

  std::vector<float> logits(const std::string& table, int num_ranks) const {
    const auto checkpoint = Checkpoint::open(directory_->path());
    const RunnerOptions options{.num_threads = 2,
                                .tensor_parallel = num_ranks,
                                .max_batch_tokens = 160,
                                .max_sequences = 4,
                                .max_context = test::kMaxContext,
                                .num_blocks = 16,
                                .k_format = Format::kF32,
                                .v_format = Format::kF32};
    const auto runner = ModelRunner::load(*checkpoint, test::with_table(options, table));
    return test::run(*runner, test::sequence(50, 1, 0), 33);
  }

 private:
  void add(const std::string& name, const std::vector<int64_t>& shape) {
    std::normal_distribution<float> normal(0.0f, 0.3f);
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    std::string bytes;
    for (int64_t i = 0; i < count; ++i) {
      const float value = normal(random_);
      bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    tensors_.push_back({name, "F32", shape, bytes});
  }

  std::mt19937 random_{7};
  std::vector<test::TinyDirectory::Tensor> tensors_;
  std::optional<test::TinyDirectory> directory_;
};

// That of an output that is summed is added once.
TEST_P(TensorParallelTest, BiasesOfAllMatrices) {
  const RandomDirectory model(
      {{"architectures", json::array{"LlamaForCausalLM"}}, {"attention_bias", true}, {"mlp_bias", true}},
      {{"self_attn.q_proj.weight", {64, 64}},
       {"self_attn.q_proj.bias", {64}},
       {"self_attn.k_proj.weight", {32, 64}},
       {"self_attn.k_proj.bias", {32}},
       {"self_attn.v_proj.weight", {32, 64}},
       {"self_attn.v_proj.bias", {32}},
       {"self_attn.o_proj.weight", {64, 64}},
       {"self_attn.o_proj.bias", {64}},
       {"mlp.gate_proj.weight", {96, 64}},
       {"mlp.gate_proj.bias", {96}},
       {"mlp.up_proj.weight", {96, 64}},
       {"mlp.up_proj.bias", {96}},
       {"mlp.down_proj.weight", {64, 96}},
       {"mlp.down_proj.bias", {64}}});
  EXPECT_LE(difference(model.logits(GetParam(), 2), model.logits(GetParam(), 1)), 2e-5);
}

TEST_P(TensorParallelTest, FusedMatrices) {
  const RandomDirectory model({{"architectures", json::array{"Phi3ForCausalLM"}}, {"pad_token_id", 0}},
                              {{"self_attn.qkv_proj.weight", {128, 64}},
                               {"self_attn.o_proj.weight", {64, 64}},
                               {"mlp.gate_up_proj.weight", {192, 64}},
                               {"mlp.down_proj.weight", {64, 96}}});
  EXPECT_LE(difference(model.logits(GetParam(), 2), model.logits(GetParam(), 1)), 2e-5);
}

INSTANTIATE_TEST_SUITE_P(Tables, TensorParallelTest, testing::ValuesIn(test::table_names()),
                         [](const auto& tested) { return tested.param; });

std::string refusal(const TinyGguf& model, int num_ranks) {
  return error_of([&] { Loaded(model, "reference", 2, num_ranks); });
}

TEST(TensorParallel, RefusesWhatItCannotDivide) {
  EXPECT_EQ(refusal({.kv_heads = 2}, 4),
            "tiny.gguf has 2 KV heads, which 4 ranks cannot divide; --tensor-parallel may be 1 or 2");
  EXPECT_EQ(refusal({}, 3),
            "tiny.gguf has 4 attention heads, which 3 ranks cannot divide; --tensor-parallel may be 1 or 2");
  EXPECT_EQ(refusal({.inner = 96, .format = Format::kQ8_0}, 2),
            "tiny.gguf: tensor \"model.layers.0.mlp.down_proj.weight\" is Q8_0 with 96 columns, which 2 ranks cannot "
            "divide in whole blocks of 32; --tensor-parallel may be 1");
  EXPECT_NE(refusal({}, 0), "no error");
  EXPECT_NE(refusal({}, 65), "no error");
}

TEST(TensorParallel, RefusesActOrder) {
  const auto checkpoint =
      Checkpoint::open(std::filesystem::path(QUIRE_SOURCE_DIR) / "tests" / "golden" / "gptq-act-order");
  const std::string error =
      error_of([&] { (void)ModelRunner::load(*checkpoint, {.tensor_parallel = 2, .device = "cpu"}); });
  EXPECT_NE(error.find("o_proj"), std::string::npos) << error;
  EXPECT_NE(error.find("act-order"), std::string::npos) << error;
}

TEST(TensorParallel, MoreThanTwoGpusGiveUpOneAnswer) {
  if (!test::has_cuda()) GTEST_SKIP() << "no CUDA device, and none emulated";
  const std::string error = error_of([] { Loaded({.heads = 8, .kv_heads = 4}, "cuda", 2, 4); });
  EXPECT_NE(error.find("--no-one-answer"), std::string::npos) << error;
}

TEST(TensorParallel, FourGpusWithoutIt) {
  const std::vector<std::string> tables = test::table_names_and_library();
  if (tables.back() != test::kCudaLibrary) GTEST_SKIP() << "no CUDA device with cuBLASLt, and none emulated";
  const TinyGguf model{.heads = 8, .kv_heads = 4};
  const std::vector<float> one = test::run(*Loaded(model, "cuda", 2).runner, test::sequence(40, 1, 0), 33);
  const std::vector<float> four =
      test::run(*Loaded(model, test::kCudaLibrary, 2, 4).runner, test::sequence(40, 1, 0), 33);
  EXPECT_LE(difference(four, one), 1e-4);
}

TEST(TensorParallel, ProgressReachesTheTotal) {
  const std::string image = test::tiny_gguf({});
  const auto checkpoint = Checkpoint::from_gguf_bytes(test::as_bytes(image), "tiny.gguf");
  for (const int num_ranks : {1, 2}) {
    uint64_t last = 0;
    uint64_t total = 0;
    (void)ModelRunner::load(*checkpoint, {.num_threads = 2, .tensor_parallel = num_ranks, .device = "cpu"},
                            [&](uint64_t done_bytes, uint64_t total_bytes) {
                              EXPECT_GT(done_bytes, last);
                              last = done_bytes;
                              total = total_bytes;
                            });
    EXPECT_EQ(last, total) << num_ranks;
  }
}

}  // namespace
}  // namespace quire
