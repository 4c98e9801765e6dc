#include "compress/blocks/block_recipe.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "compress/blocks/mixed.h"

namespace quire {
namespace {

// The matrices of a Llama of 16 layers with a head of its own.
std::vector<NamedMatrix> llama(int64_t hidden, int64_t kv_rows) {
  std::vector<NamedMatrix> matrices = {{"token_embd.weight", 1000, hidden}, {"output.weight", 1000, hidden}};
  for (int layer = 0; layer < 16; ++layer) {
    const std::string name = "blk." + std::to_string(layer) + ".";
    matrices.push_back({name + "attn_q.weight", hidden, hidden});
    matrices.push_back({name + "attn_v.weight", kv_rows, hidden});
    matrices.push_back({name + "attn_output.weight", hidden, hidden});
    matrices.push_back({name + "ffn_down.weight", hidden, 3 * hidden});
  }
  return matrices;
}

Format format_in(std::string_view recipe, const std::vector<NamedMatrix>& matrices, std::string_view name,
                 bool has_importance = true) {
  const std::vector<Format> formats = recipe_formats(recipe, matrices, has_importance);
  for (size_t i = 0; i < matrices.size(); ++i) {
    if (matrices[i].name == name) return formats[i];
  }
  ADD_FAILURE() << name;
  return Format::kF32;
}

TEST(BlockRecipe, SpendsMoreBitsWhereTheModelIsSensitive) {
  const auto matrices = llama(512, 512);
  EXPECT_EQ(format_in("Q4_K_M", matrices, "output.weight"), Format::kQ6_K);
  EXPECT_EQ(format_in("Q4_K_M", matrices, "token_embd.weight"), Format::kQ4_K);
  EXPECT_EQ(format_in("Q4_K_M", matrices, "blk.3.attn_q.weight"), Format::kQ4_K);
  // Of 16 layers: 0, 1, each third from 4 on, 14 and 15.
  for (const int layer : {0, 1, 4, 7, 10, 13, 14, 15}) {
    EXPECT_EQ(format_in("Q4_K_M", matrices, "blk." + std::to_string(layer) + ".ffn_down.weight"), Format::kQ6_K);
  }
  for (const int layer : {2, 3, 5, 6, 8, 9, 11, 12}) {
    EXPECT_EQ(format_in("Q4_K_M", matrices, "blk." + std::to_string(layer) + ".attn_v.weight"), Format::kQ4_K);
  }
  EXPECT_EQ(format_in("Q4_K_S", matrices, "blk.3.attn_v.weight"), Format::kQ5_K);
  EXPECT_EQ(format_in("Q4_K_S", matrices, "blk.4.attn_v.weight"), Format::kQ4_K);
  EXPECT_EQ(format_in("Q3_K_M", matrices, "blk.0.ffn_down.weight"), Format::kQ5_K);
  EXPECT_EQ(format_in("Q3_K_M", matrices, "blk.1.ffn_down.weight"), Format::kQ4_K);
  EXPECT_EQ(format_in("Q2_K", matrices, "blk.9.attn_v.weight"), Format::kQ3_K);
  EXPECT_EQ(format_in("Q2_K", llama(512, 128), "blk.9.attn_v.weight"), Format::kQ4_K);
  EXPECT_EQ(format_in("Q4_0", matrices, "blk.1.ffn_down.weight", true), Format::kQ4_1);
  EXPECT_EQ(format_in("Q4_0", matrices, "blk.1.ffn_down.weight", false), Format::kQ4_0);
}

TEST(BlockRecipe, ColumnsThatNoBlockDividesTakeTheNextLargerFormat) {
  const auto matrices = llama(576, 192);
  EXPECT_EQ(format_in("Q4_K_M", matrices, "blk.2.attn_q.weight"), Format::kQ5_0);
  EXPECT_EQ(format_in("Q4_K_M", matrices, "output.weight"), Format::kQ8_0);
  EXPECT_EQ(format_in("Q3_K_S", matrices, "blk.2.attn_q.weight"), Format::kQ4_0);
  EXPECT_EQ(format_in("IQ4_XS", matrices, "blk.2.attn_q.weight"), Format::kIQ4_NL);
  EXPECT_EQ(fitting_format(Format::kQ4_0, 40), Format::kF16);
  EXPECT_EQ(fitting_format(Format::kF32, 40), Format::kF32);
}

TEST(BlockRecipe, KnowsItsNamesAndNoOthers) {
  for (const std::string& name : block_recipes()) EXPECT_NO_THROW(recipe_formats(name, llama(256, 256), true)) << name;
  EXPECT_THROW(recipe_formats("Q4_K_X", llama(256, 256), true), Error);
}

TEST(BlockRecipe, NamesSayWhatIsQuantised) {
  EXPECT_TRUE(is_quantised("blk.0.attn_q.weight", 2));
  EXPECT_TRUE(is_quantised("blk.0.ffn_up_exps.weight", 3));
  EXPECT_FALSE(is_quantised("blk.0.attn_q.bias", 1));
  EXPECT_FALSE(is_quantised("blk.0.attn_norm.weight", 1));
  EXPECT_FALSE(is_quantised("blk.0.ffn_gate_inp.weight", 2));
  EXPECT_EQ(layer_of("blk.12.ffn_gate.weight"), 12);
  EXPECT_FALSE(layer_of("output.weight").has_value());
  EXPECT_EQ(matrix_role("blk.1.ffn_gate_exps.weight"), MatrixRole::kGate);
}

// Against all combinations.
TEST(MixedPrecision, FindsTheLeastCostWithinTheBudget) {
  std::vector<std::vector<FormatChoice>> matrices;
  uint64_t state = 7;
  const auto draw = [&](uint64_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % below;
  };
  for (int i = 0; i < 5; ++i) {
    std::vector<FormatChoice>& choices = matrices.emplace_back();
    for (int k = 0; k < 4; ++k) choices.push_back({.bytes = 1 + draw(300), .cost = static_cast<double>(draw(1000))});
  }
  for (const uint64_t budget : {500u, 700u, 1000u, 2000u}) {
    double least = 1e30;
    for (size_t code = 0; code < 1024; ++code) {
      uint64_t bytes = 0;
      double cost = 0;
      for (size_t i = 0; i < 5; ++i) {
        const FormatChoice& choice = matrices[i][(code >> (2 * i)) & 3];
        bytes += choice.bytes;
        cost += choice.cost;
      }
      if (bytes <= budget) least = std::min(least, cost);
    }
    if (least == 1e30) {
      EXPECT_THROW(choose_formats(matrices, budget), Error);
      continue;
    }
    const std::vector<size_t> chosen = choose_formats(matrices, budget);
    uint64_t bytes = 0;
    double cost = 0;
    for (size_t i = 0; i < 5; ++i) {
      bytes += matrices[i][chosen[i]].bytes;
      cost += matrices[i][chosen[i]].cost;
    }
    EXPECT_LE(bytes, budget);
    EXPECT_EQ(cost, least) << budget;
  }
  EXPECT_THROW(choose_formats(matrices, 4), Error);
}

TEST(MixedPrecision, ChoicesGetCheaperWithMoreBits) {
  std::vector<float> values(512 * 4);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i * i % 977));
  ThreadPool pool(1);
  constexpr Format kFormats[] = {Format::kQ2_K, Format::kQ3_K, Format::kQ4_K, Format::kQ6_K, Format::kQ8_0};
  const auto choices = measure_choices({.values = values, .cols = 512}, {}, kFormats, pool);
  ASSERT_EQ(choices.size(), 5u);
  for (size_t i = 1; i < 5; ++i) {
    EXPECT_LT(choices[i].cost, choices[i - 1].cost);
    EXPECT_GT(choices[i].bytes, choices[i - 1].bytes);
  }
  EXPECT_EQ(measure_choices({.values = values, .cols = 32}, {}, kFormats, pool).size(), 1u);
}

}  // namespace
}  // namespace quire
