// Factors of channels: which tensors share them, what AWQ and SmoothQuant choose, and that folding changes no output.
#include "compress/methods/folding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "compress/matrices/synthetic_input.h"
#include "compress/methods/awq.h"
#include "compress/methods/gptq.h"
#include "compress/methods/rtn.h"
#include "compress/methods/smoothquant.h"

namespace quire {
namespace {

using testing::correlated_input;
using testing::random_floats;
using testing::values_of;

// Shapes without weights.
class ShapesCheckpoint : public Checkpoint {
 public:
  ShapesCheckpoint(json::object config, const std::map<std::string, std::vector<int64_t>>& shapes)
      : config_(std::move(config)) {
    for (const auto& [name, shape] : shapes) {
      TensorView view;
      view.rank = static_cast<int>(shape.size());
      std::ranges::copy(shape, view.shape.begin());
      tensors_["model.layers.0." + name] = view;
    }
  }
  const std::string& name() const override { return name_; }
  bool is_gguf() const override { return false; }
  const GgufFile* gguf() const override { return nullptr; }
  std::filesystem::path directory() const override { return {}; }
  const json::object& config() const override { return config_; }
  const json::object* generation_config() const override { return nullptr; }
  std::optional<TensorView> find_tensor(std::string_view hf_name) const override {
    const auto found = tensors_.find(std::string(hf_name));
    return found == tensors_.end() ? std::nullopt : std::optional(found->second);
  }
  std::vector<NamedTensor> all_tensors() const override { return {}; }
  uint64_t file_bytes() const override { return 0; }
  std::vector<const MappedFile*> files() const override { return {}; }
  bool rope_is_interleaved() const override { return false; }
  bool norms_include_one() const override { return false; }
  void release_pages() const override {}

 private:
  std::string name_ = "shapes";
  json::object config_;
  std::map<std::string, TensorView> tensors_;
};

// "source <- reader reader", without the layer's prefix and ".weight".
std::vector<std::string> described(const std::vector<Folding>& foldings) {
  const auto short_name = [](const std::string& name) {
    const std::string rest = name.substr(std::string("model.layers.0.").size());
    return rest.ends_with(".weight") ? rest.substr(0, rest.size() - 7) : rest;
  };
  std::vector<std::string> lines;
  for (const Folding& folding : foldings) {
    std::string line = short_name(folding.source.name) + " <-";
    for (const std::string& reader : folding.readers) line += " " + short_name(reader);
    lines.push_back(line);
  }
  return lines;
}

TEST(Foldings, ALlamaLayerHasFourPairs) {
  const ShapesCheckpoint checkpoint({{"model_type", "llama"}, {"num_attention_heads", 4}},
                                    {{"input_layernorm.weight", {32}},
                                     {"self_attn.q_proj.weight", {32, 32}},
                                     {"self_attn.k_proj.weight", {16, 32}},
                                     {"self_attn.v_proj.weight", {16, 32}},
                                     {"self_attn.v_proj.bias", {16}},
                                     {"self_attn.o_proj.weight", {32, 32}},
                                     {"post_attention_layernorm.weight", {32}},
                                     {"mlp.gate_proj.weight", {48, 32}},
                                     {"mlp.up_proj.weight", {48, 32}},
                                     {"mlp.down_proj.weight", {32, 48}}});
  const std::vector<Folding> found = foldings(checkpoint, 0);
  EXPECT_EQ(described(found),
            std::vector<std::string>({"input_layernorm <- self_attn.q_proj self_attn.k_proj self_attn.v_proj",
                                      "self_attn.v_proj <- self_attn.o_proj",
                                      "post_attention_layernorm <- mlp.gate_proj mlp.up_proj",
                                      "mlp.up_proj <- mlp.down_proj"}));
  EXPECT_EQ(found[1].source.bias, "model.layers.0.self_attn.v_proj.bias");
  // Heads 0 and 1 read K and V head 0, heads 2 and 3 head 1; heads have 8 columns.
  EXPECT_EQ(found[1].num_channels, 16);
  EXPECT_EQ(found[1].channel_of(7), 7);
  EXPECT_EQ(found[1].channel_of(8), 0);
  EXPECT_EQ(found[1].channel_of(16), 8);
  EXPECT_EQ(found[1].channel_of(31), 15);
  EXPECT_EQ(found[0].source.offset, 0);
  EXPECT_TRUE(foldings(checkpoint, 1).empty());
}

TEST(Foldings, FusedMatricesExpertsAndGemmasNorms) {
  const ShapesCheckpoint phi({{"model_type", "phi3"}, {"num_attention_heads", 4}},
                             {{"input_layernorm.weight", {32}},
                              {"self_attn.qkv_proj.weight", {64, 32}},
                              {"self_attn.o_proj.weight", {32, 32}},
                              {"post_attention_layernorm.weight", {32}},
                              {"mlp.gate_up_proj.weight", {96, 32}},
                              {"mlp.down_proj.weight", {32, 48}}});
  const std::vector<Folding> fused = foldings(phi, 0);
  EXPECT_EQ(
      described(fused),
      std::vector<std::string>({"input_layernorm <- self_attn.qkv_proj", "self_attn.qkv_proj <- self_attn.o_proj",
                                "post_attention_layernorm <- mlp.gate_up_proj", "mlp.gate_up_proj <- mlp.down_proj"}));
  EXPECT_EQ(fused[1].source.first_row, 48);
  EXPECT_EQ(fused[3].source.first_row, 48);

  const ShapesCheckpoint mixtral({{"model_type", "mixtral"}, {"num_attention_heads", 4}},
                                 {{"post_attention_layernorm.weight", {32}},
                                  {"block_sparse_moe.gate.weight", {2, 32}},
                                  {"block_sparse_moe.experts.0.w1.weight", {48, 32}},
                                  {"block_sparse_moe.experts.0.w2.weight", {32, 48}},
                                  {"block_sparse_moe.experts.0.w3.weight", {48, 32}},
                                  {"block_sparse_moe.experts.1.w1.weight", {48, 32}},
                                  {"block_sparse_moe.experts.1.w2.weight", {32, 48}},
                                  {"block_sparse_moe.experts.1.w3.weight", {48, 32}}});
  const std::string block = "block_sparse_moe.";
  EXPECT_EQ(
      described(foldings(mixtral, 0)),
      std::vector<std::string>(
          {"post_attention_layernorm <- block_sparse_moe.gate block_sparse_moe.experts.0.w1 "
           "block_sparse_moe.experts.0.w3 block_sparse_moe.experts.1.w1 block_sparse_moe.experts.1.w3",
           block + "experts.0.w3 <- " + block + "experts.0.w2", block + "experts.1.w3 <- " + block + "experts.1.w2"}));

  const ShapesCheckpoint gemma({{"model_type", "gemma2"}, {"num_attention_heads", 4}},
                               {{"post_attention_layernorm.weight", {32}},
                                {"pre_feedforward_layernorm.weight", {32}},
                                {"mlp.gate_proj.weight", {48, 32}},
                                {"mlp.up_proj.weight", {48, 32}}});
  const std::vector<Folding> one = foldings(gemma, 0);
  EXPECT_EQ(described(one), std::vector<std::string>({"pre_feedforward_layernorm <- mlp.gate_proj mlp.up_proj"}));
  EXPECT_EQ(one[0].source.offset, 1);
}

TEST(Foldings, TheArithmeticChangesNoOutput) {
  // A norm with an offset and biased rows, each read by a matrix.
  const std::vector<float> x = random_floats(8, 1);
  std::vector<float> norm = random_floats(8, 2);
  std::vector<float> reader = random_floats(3 * 8, 3);
  const std::vector<float> factors = {0.5f, 2, 1, 3, 0.1f, 1, 7, 1};
  const auto output = [&] {
    std::vector<float> y(3);
    for (size_t row = 0; row < 3; ++row) {
      for (size_t i = 0; i < 8; ++i) y[row] += reader[row * 8 + i] * (1 + norm[i]) * x[i];
    }
    return y;
  };
  const std::vector<float> before = output();
  divide_rows(norm, 1, 1, factors);
  multiply_columns(reader, factors);
  const std::vector<float> after = output();
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(after[i], before[i], 1e-4);

  InputStatistics input = correlated_input(8, 20, 4);
  const InputStatistics original = input;
  divide_input(input, factors);
  EXPECT_FLOAT_EQ(input.products[8 + 3], original.products[8 + 3] / (2 * 3));
  EXPECT_FLOAT_EQ(input.square_sums[3], original.square_sums[3] / 9);
  EXPECT_FLOAT_EQ(input.largest[4], original.largest[4] / 0.1f);
  EXPECT_FLOAT_EQ(input.sample[8 + 1], original.sample[8 + 1] / 2);
}

Folding plain_folding(int64_t channels) {
  return {.source = {}, .num_channels = channels, .readers = {}, .channels = {}};
}

// The rounded matrix as it acts on the input before folding.
std::vector<float> unfolded(std::vector<float> values, std::span<const float> factors) {
  for (size_t i = 0; i < values.size(); ++i) values[i] /= factors[i % factors.size()];
  return values;
}

TEST(Awq, FactorsAndClipsLessenTheOutputError) {
  ThreadPool threads(2);
  InputStatistics input = correlated_input(64, 200, 5);
  const std::vector<float> values = random_floats(24 * 64, 6);
  const FloatMatrix matrix = {values, 24, 64};
  const GroupGrid grid = {.bits = 3, .group = 32, .symmetric = false};
  const double plain =
      output_error(matrix, {values_of(round_to_nearest(matrix, {.grid = grid}, threads)), 24, 64}, input, threads);
  const std::vector<float> factors = search_channel_factors({&matrix, 1}, input, plain_folding(64), grid, threads);
  std::vector<float> scaled = values;
  multiply_columns(scaled, factors);
  const FloatMatrix folded = {scaled, 24, 64};
  const auto error_of = [&](const GroupMatrix& rounded) {
    return output_error(matrix, {unfolded(values_of(rounded), factors), 24, 64}, input, threads);
  };
  const double searched = error_of(round_to_nearest(folded, {.grid = grid}, threads));
  EXPECT_LT(searched, 0.9 * plain);
  InputStatistics divided = input;
  divide_input(divided, factors);
  EXPECT_LT(error_of(round_with_clips(folded, divided, grid, threads)), 0.9 * searched);

  // The sample is enough, and here it is all that was seen.
  input.products.clear();
  const std::vector<float> by_sample = search_channel_factors({&matrix, 1}, input, plain_folding(64), grid, threads);
  for (size_t i = 0; i < 64; ++i) EXPECT_NEAR(by_sample[i], factors[i], 1e-3);
}

TEST(Awq, ChannelsThatSeveralColumnsReadHaveOneFactor) {
  ThreadPool threads(1);
  const InputStatistics input = correlated_input(64, 100, 7);
  const std::vector<float> values = random_floats(16 * 64, 8);
  const FloatMatrix matrix = {values, 16, 64};
  Folding folding = plain_folding(32);
  for (int32_t col = 0; col < 64; ++col) folding.channels.push_back(col % 32);
  const GroupGrid grid = {.bits = 3, .group = 32};
  const std::vector<float> factors = search_channel_factors({&matrix, 1}, input, folding, grid, threads);
  ASSERT_EQ(factors.size(), 32u);
  const std::vector<float> columns = factors_of_columns(folding, factors, 64);
  EXPECT_EQ(columns[3], columns[35]);
}

// The output error of eight bits on both sides, a scale for each row.
double w8a8_error(const FloatMatrix& matrix, const InputStatistics& input, std::span<const float> factors) {
  ThreadPool threads(1);
  std::vector<float> scaled(matrix.values.begin(), matrix.values.end());
  multiply_columns(scaled, factors);
  const std::vector<float> weights =
      values_of(round_to_nearest({scaled, matrix.rows, matrix.cols}, {.grid = kW8A8Grid}, threads));
  double error = 0;
  for (int64_t s = 0; s < input.num_rows; ++s) {
    std::vector<float> x(input.sample.begin() + s * input.cols, input.sample.begin() + (s + 1) * input.cols);
    float largest = 0;
    for (size_t i = 0; i < x.size(); ++i) largest = std::max(largest, std::abs(x[i] /= factors[i]));
    for (int64_t row = 0; row < matrix.rows; ++row) {
      double exact = 0;
      double rounded = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        exact += double{matrix.row(row)[i]} * double{input.sample[static_cast<size_t>(s * input.cols) + i]};
        rounded += double{weights[static_cast<size_t>(row * matrix.cols) + i]} *
                   double{std::nearbyint(x[i] / largest * 127) * largest / 127};
      }
      error += (exact - rounded) * (exact - rounded);
    }
  }
  return error;
}

TEST(SmoothQuant, HalvesTheErrorOfInputsThatReachFar) {
  ThreadPool threads(2);
  InputStatistics input = correlated_input(48, 60, 9);
  for (size_t i = 0; i < input.sample.size(); ++i) {
    if (i % 48 == 5) input.sample[i] *= 40;
  }
  input.largest[5] *= 40;
  const std::vector<float> values = random_floats(16 * 48, 10);
  const FloatMatrix matrix = {values, 16, 48};
  const Folding folding = plain_folding(48);
  const std::vector<float> factors = smoothing_factors({&matrix, 1}, input, folding, 0.5f);
  float largest = 0;
  for (size_t row = 0; row < 16; ++row) largest = std::max(largest, std::abs(values[row * 48 + 5]));
  EXPECT_FLOAT_EQ(factors[5], std::sqrt(input.largest[5] / largest));
  const std::vector<float> ones(48, 1.0f);
  const double naive = w8a8_error(matrix, input, ones);
  const double smooth = w8a8_error(matrix, input, factors);
  EXPECT_LT(smooth, 0.5 * naive);
  const float alpha = search_alpha({&matrix, 1}, input, folding, threads);
  EXPECT_LE(w8a8_error(matrix, input, smoothing_factors({&matrix, 1}, input, folding, alpha)), 1.01 * smooth);
}

}  // namespace
}  // namespace quire
