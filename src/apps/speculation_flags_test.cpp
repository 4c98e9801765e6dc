// --speculative-config and the flags beside it: what they set, and what is said about what they cannot mean.
#include "apps/speculation_flags.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "drafting/drafters.h"

namespace quire {
namespace {

SpeculationOptions resolve(const std::vector<std::string>& words) {
  Command command("test", "For tests");
  SpeculationFlags flags;
  flags.add(command);
  command.on_run([] {});
  command.run(words);
  return flags.resolve();
}

std::string message(const std::vector<std::string>& words) {
  try {
    resolve(words);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string message(const std::string& config) {
  try {
    parse_speculation(config);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(SpeculationFlags, ReadsTheKeysOfVllm) {
  const SpeculationOptions options = parse_speculation(R"({
    "method": "suffix", "model": "folder", "num_speculative_tokens": 7, "min_speculative_tokens": 2.0,
    "min_probability": 0.25, "adaptive": false, "tree": false, "prompt_lookup_max": 4, "prompt_lookup_min": 3,
    "suffix_decoding_max_tree_depth": 30, "suffix_decoding_max_cached_requests": 100,
    "suffix_decoding_max_spec_factor": 2, "suffix_decoding_min_token_prob": 0.5, "lookahead_window": 5,
    "lookahead_ngram": 3, "lookahead_guesses": 2, "acceptance": "typical", "posterior_threshold": 0.125,
    "posterior_alpha": null})");
  EXPECT_EQ(options.method, "suffix");
  EXPECT_EQ(options.model, "folder");
  EXPECT_EQ(options.max_drafts, 7);
  EXPECT_EQ(options.min_drafts, 2);
  EXPECT_EQ(options.min_probability, 0.25f);
  EXPECT_FALSE(options.adaptive);
  EXPECT_FALSE(options.tree);
  EXPECT_EQ(options.ngram_max, 4);
  EXPECT_EQ(options.ngram_min, 3);
  EXPECT_EQ(options.suffix_max_depth, 30);
  EXPECT_EQ(options.suffix_max_tokens, 102400);
  EXPECT_EQ(options.suffix_factor, 2.0f);
  EXPECT_EQ(options.suffix_min_probability, 0.5f);
  EXPECT_EQ(options.lookahead_window, 5);
  EXPECT_EQ(options.lookahead_ngram, 3);
  EXPECT_EQ(options.lookahead_guesses, 2);
  EXPECT_EQ(options.acceptance, DraftAcceptance::kTypical);
  EXPECT_EQ(options.typical_threshold, 0.125f);
  EXPECT_EQ(options.typical_alpha, SpeculationOptions().typical_alpha);
  EXPECT_EQ(parse_speculation("ngram").method, "ngram");
}

TEST(SpeculationFlags, NamesTheKeyThatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"",
       "--speculative-config is ''; expected a JSON object such as {\"method\": \"ngram\"}, or the name of a method"},
      {"[]",
       "--speculative-config is '[]'; expected a JSON object such as {\"method\": \"ngram\"}, or the name of a "
       "method"},
      {R"({"num_speculative_tokens": "5"})",
       "--speculative-config: num_speculative_tokens is \"5\"; expected a whole number from 1 to 256"},
      {R"({"num_speculative_tokens": 0})",
       "--speculative-config: num_speculative_tokens is 0; expected a whole number from 1 to 256"},
      {R"({"num_speculative_tokens": 2.5})",
       "--speculative-config: num_speculative_tokens is 2.5E0; expected a whole number from 1 to 256"},
      {R"({"num_speculative_tokens": 1e300})",
       "--speculative-config: num_speculative_tokens is 1E300; expected a whole number from 1 to 256"},
      {R"({"min_probability": 2})", "--speculative-config: min_probability is 2; expected a number from 0 to 1"},
      {R"({"adaptive": 1})", "--speculative-config: adaptive is 1; expected true or false"},
      {R"({"model": {}})", "--speculative-config: model is {}; expected a string"},
      {R"({"acceptance": "loose"})",
       "--speculative-config: acceptance is \"loose\"; expected \"exact\" or \"typical\""}};
  for (const auto& [config, expected] : cases) EXPECT_EQ(message(config), expected) << config;
  EXPECT_TRUE(message(R"({"num_speculative_token": 5})")
                  .starts_with("--speculative-config: unknown key \"num_speculative_token\" (did you mean "
                               "\"num_speculative_tokens\"?); keys are method, model, num_speculative_tokens, "));
  EXPECT_TRUE(message(R"({"method")").starts_with("--speculative-config is not valid JSON: "));
}

TEST(SpeculationFlags, OfLlamaCppChangeWhatTheJsonSays) {
  const SpeculationOptions options =
      resolve({"--draft-max", "9", "--draft-min", "1", "--draft-p-min", "0.75", "--speculative-config",
               R"({"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 6})"});
  EXPECT_EQ(options.max_drafts, 9);
  EXPECT_EQ(options.min_drafts, 1);
  EXPECT_EQ(options.min_probability, 0.75f);
  EXPECT_EQ(options.ngram_max, 6);
  EXPECT_EQ(resolve({}).method, "");
  EXPECT_EQ(resolve({"-md", "small.gguf", "--draft-max", "3"}).model, "small.gguf");
}

TEST(SpeculationFlags, RefusesWhatDoesNotGoTogether) {
  EXPECT_TRUE(message(std::vector<std::string>{"--draft-max", "4"})
                  .starts_with("--draft-max is given and nothing drafts; name a method by --speculative-config"));
  EXPECT_TRUE(message(std::vector<std::string>{"--speculative-config", R"({"num_speculative_tokens": 3})"})
                  .starts_with("--speculative-config is given and nothing drafts; "));
  EXPECT_TRUE(message(std::vector<std::string>{"--speculative-config", "guess"})
                  .starts_with("--speculative-config: unknown method \"guess\"; methods are "));
  EXPECT_EQ(message(std::vector<std::string>{"--speculative-config", "ngram", "--draft-max", "2", "--draft-min", "3"}),
            "at least 3 drafts are asked for and at most 2; raise num_speculative_tokens");
  EXPECT_EQ(message(std::vector<std::string>{"-md", "a", "--speculative-config", "ngram"}),
            "--speculative-config: the method \"ngram\" has no model; leave it out");
  EXPECT_EQ(message(std::vector<std::string>{"--speculative-config", "medusa"}),
            "--speculative-config: the method \"medusa\" needs a model; give \"model\", or --model-draft FILE");
  EXPECT_TRUE(message(std::vector<std::string>{"--draft-p-min", "1.5"})
                  .starts_with("--draft-p-min is '1.5'; expected a number from 0 to 1"));
}

TEST(SpeculationFlags, KeysStandInTheDocumentation) {
  const std::string docs = read_text_file(QUIRE_SOURCE_DIR "/docs/speculation-use.md", 1 << 20);
  EXPECT_NE(docs.find(speculation_keys_as_markdown()), std::string::npos)
      << "docs/speculation-use.md should have this table:\n"
      << speculation_keys_as_markdown();
}

}  // namespace
}  // namespace quire
