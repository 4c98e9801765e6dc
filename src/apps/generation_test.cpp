// The numbers of --stats.
#include "apps/generation.h"

#include <gtest/gtest.h>

#include "apps/loaded_model.h"

namespace quire {
namespace {

TEST(GenerationStats, CountComputedTokensOnlyAndNameCachedOnes) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint("demo");
  const std::unique_ptr<TextProcessor> text = TextProcessor::load(*checkpoint);
  RunnerOptions options;
  options.num_threads = 1;
  options.max_sequences = 1;
  Engine engine(load_runner(*checkpoint, options), EngineOptions());
  const auto ask = [&] {
    GenerationInput input;
    input.request.prompt = std::vector<int32_t>(100, text->encode_plain("the").back());
    input.request.max_tokens = 2;
    input.request.ignore_eos = true;
    return generate(
               engine, *text, std::move(input), [](std::string_view) {}, [] { return false; })
        .stats;
  };
  const GenerationStats first = ask();
  EXPECT_EQ(first.prompt_tokens, 100);
  EXPECT_EQ(first.cached_tokens, 0);
  EXPECT_EQ(describe(first).find("cached"), std::string::npos);
  const GenerationStats second = ask();
  EXPECT_EQ(second.prompt_tokens, 100);
  EXPECT_EQ(second.cached_tokens, 96);  // whole blocks
  EXPECT_DOUBLE_EQ(second.prefill_tokens_per_second(), 4 * 1000.0 / second.ttft_ms);
  EXPECT_NE(describe(second).find("      4 tokens"), std::string::npos) << describe(second);
  EXPECT_NE(describe(second).find("96 more tokens were cached"), std::string::npos) << describe(second);
}

}  // namespace
}  // namespace quire
