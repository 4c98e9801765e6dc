#include "apps/options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <sstream>

#include "apps/serve_options.h"
#include "base/error.h"
#include "kernels/select.h"

namespace quire {
namespace {

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  return {std::istream_iterator<std::string>(stream), {}};
}

SamplingParams resolve(const std::string& line, const char* generation_config) {
  Command command("test", "For tests");
  SamplingOptions options;
  options.add(command);
  command.on_run([] {});
  command.run(words_of(line));
  if (generation_config == nullptr) return options.resolve(nullptr);
  const json::value config = parse_json(generation_config, "generation_config.json");
  return options.resolve(&config.as_object());
}

TEST(SamplingOptions, CommandLineWinsOverTheModelAndTheModelOverDefaults) {
  const char* const config = R"({"temperature": 0.6, "top_p": 0.9, "top_k": 20, "do_sample": true})";
  EXPECT_FLOAT_EQ(resolve("", nullptr).temperature, 0.8f);
  EXPECT_FLOAT_EQ(resolve("", config).temperature, 0.6f);
  EXPECT_EQ(resolve("", config).top_k, 20);
  EXPECT_FLOAT_EQ(resolve("--temp 0.1", config).temperature, 0.1f);
  EXPECT_FLOAT_EQ(resolve("", R"({"do_sample": false})").temperature, 0.0f);
  EXPECT_FALSE(resolve("", config).seed.has_value());
  EXPECT_EQ(resolve("--seed 7", config).seed, 7u);
}

TEST(SamplingOptions, LogitBias) {
  EXPECT_EQ(resolve("--logit-bias 5:-2.5", nullptr).logit_bias, (std::vector<std::pair<int32_t, float>>{{5, -2.5f}}));
  EXPECT_EQ(resolve("-l 5+2.5 -l 6-1", nullptr).logit_bias,
            (std::vector<std::pair<int32_t, float>>{{5, 2.5f}, {6, -1.0f}}));
  EXPECT_THROW(resolve("--logit-bias 5", nullptr), Error);
  EXPECT_THROW(resolve("--logit-bias 5+", nullptr), Error);
  EXPECT_THROW(resolve("--logit-bias 5:x", nullptr), Error);
}

TEST(ServeOptions, ThePoolFitsAUsualLoadAndOneLongSequence) {
  const auto blocks = [](int64_t sequences, int64_t context, std::optional<uint64_t> kv_bytes = {},
                         int64_t fitting = 1 << 20) {
    RunnerOptions options;
    options.max_sequences = sequences;
    options.max_context = context;
    MemoryPlan plan;
    plan.num_blocks = std::min(fitting, sequences * blocks_for(context));
    plan.kv_bytes = static_cast<uint64_t>(plan.num_blocks) * 1000;
    return served_blocks(plan, options, kv_bytes);
  };
  EXPECT_EQ(blocks(32, 8192), 32 * 32);         // 1,024 positions each, not 8,192
  EXPECT_EQ(blocks(32, 512), 32 * 16);          // a short context
  EXPECT_EQ(blocks(2, 131072), 131072 / 32);    // one of full length
  EXPECT_EQ(blocks(32, 8192, {}, 600), 600);    // what fits
  EXPECT_EQ(blocks(32, 8192, 5000), 5);         // what was asked for
  EXPECT_EQ(blocks(32, 512, 2'000'000), 2000);  // also more than all sequences need, for the prefix cache
  EXPECT_EQ(blocks(32, 8192, 1), 1);
}

TEST(ModelOptions, ModelsInBf16AreMultipliedByBf16WhereAnInstructionDoes) {
  const auto activations = [](const char* weights, const std::string& line) {
    Command command("test", "For tests");
    ModelOptions options;
    options.shape = "tinyllama-1.1b";
    options.weights = weights;
    options.add_compute(command);
    command.on_run([] {});
    command.run(words_of(line));
    const auto checkpoint = options.open(SyntheticContent::kHoles);
    return options.runner_options(checkpoint.get()).activations;
  };
  const Activations of_bf16 = multiplies_bf16("") ? Activations::kBf16 : Activations::kInt8;
  EXPECT_EQ(activations("BF16", "--device cpu"), of_bf16);
  EXPECT_EQ(activations("BF16", "--device cpu --activations auto"), of_bf16);
  EXPECT_EQ(activations("BF16", "--device cpu --activations f32"), Activations::kF32);
  EXPECT_EQ(activations("BF16", "--device cpu --activations int8"), Activations::kInt8);
  EXPECT_EQ(activations("BF16", "--device cpu --isa reference"), Activations::kInt8);
  EXPECT_EQ(activations("BF16", "--device cpu --quantize int8"), Activations::kInt8);
  EXPECT_EQ(activations("BF16", "--device cuda"), Activations::kInt8);
  EXPECT_EQ(activations("F16", "--device cpu"), Activations::kInt8);
  EXPECT_EQ(activations("Q4_0", "--device cpu"), Activations::kInt8);
}

TEST(ModelOptions, NamesOfLlamaCppAndVllmAndTheEnvironment) {
  const auto parse = [](const std::string& line) {
    Command command("test", "For tests");
    ModelOptions options;
    options.add_limits(command);
    options.add_compute(command);
    command.on_run([] {});
    command.run(words_of(line));
    return options.runner_options();
  };
  EXPECT_EQ(parse("-c 4K").max_context, 4096);
  EXPECT_EQ(parse("--max-model-len 4096").max_context, 4096);
  EXPECT_EQ(parse("-c auto").max_context, 0);
  EXPECT_EQ(parse("--kv-cache-dtype f32 --cache-type-v bf16").k_format, Format::kF32);
  EXPECT_EQ(parse("--kv-cache-dtype f32 --cache-type-v bf16").v_format, Format::kBF16);
  EXPECT_EQ(parse("--kv-type int8").k_format, Format::kQ8_0);
  EXPECT_EQ(parse("--kv-type fp8").v_format, Format::kF8_E4M3);
  EXPECT_EQ(parse("--kv-cache-dtype fp8_e4m3 --cache-type-k f16").v_format, Format::kF8_E4M3);
  EXPECT_EQ(parse("--kv-type q8_0 --cache-type-v q4_0").v_format, Format::kQ4_0);
  EXPECT_THROW(parse("--kv-type q9"), Error);
  EXPECT_TRUE(parse("").one_answer);
  EXPECT_FALSE(parse("--no-one-answer").one_answer);
  EXPECT_EQ(parse("").tensor_parallel, 1);
  EXPECT_EQ(parse("--tensor-parallel 2").tensor_parallel, 2);
  EXPECT_EQ(parse("--tensor-parallel-size 4").tensor_parallel, 4);
  ::setenv("QUIRE_CTX_SIZE", "2K", 1);
  EXPECT_EQ(parse("").max_context, 2048);
  EXPECT_EQ(parse("-c 1K").max_context, 1024);
  ::unsetenv("QUIRE_CTX_SIZE");
}

}  // namespace
}  // namespace quire
