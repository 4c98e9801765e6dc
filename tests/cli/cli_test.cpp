// The program as users run it: commands, options and what they print.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "answers.h"

namespace quire::test {
namespace {

// Continues plain text with the model in the program.
Outcome run_demo(const Arguments& more, const std::string& input = "",
                 const std::vector<std::string>& environment = {}) {
  Arguments arguments = {"run", "demo", "--raw", "-t", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return quire(arguments, input, environment);
}

TEST(Run, ReadsThePromptFromAFlagAFileOrStandardInput) {
  const TemporaryFolder folder;
  const std::string prompt = "Once upon a time there was";
  write_bytes(folder.path() / "prompt.txt", prompt);
  const Outcome by_flag = run_demo({"-p", prompt, "-n", "8", "--temp", "0"});
  EXPECT_GT(by_flag.out.size(), 8u);
  EXPECT_EQ(by_flag.out.back(), '\n');
  EXPECT_EQ(by_flag.err, "");
  EXPECT_EQ(run_demo({prompt, "-n", "8", "--temp", "0"}).out, by_flag.out);
  EXPECT_EQ(run_demo({"-n", "8", "--temp", "0"}, prompt + '\n').out, by_flag.out);
  EXPECT_EQ(run_demo({"-f", folder.path() / "prompt.txt", "-n", "8", "--temp", "0"}).out, by_flag.out);
  EXPECT_NE(run_demo({"-p", "How much is 3 plus 4?", "-n", "8", "--temp", "0"}).out, by_flag.out);
}

TEST(Run, PrintsOneJsonObject) {
  const Arguments options = {"-p", "Once upon a time", "-n", "6", "--temp", "0"};
  Arguments with_json = options;
  with_json.emplace_back("--json");
  const json::object answer = parse_object(run_demo(with_json).out);
  EXPECT_EQ(get_string(answer, "text") + '\n', run_demo(options).out);
  EXPECT_EQ(get_string(answer, "finish_reason"), "length");
  const json::object& usage = *find_object(answer, "usage");
  const int64_t prompt_tokens = get_int(usage, "prompt_tokens");
  EXPECT_GE(prompt_tokens, 4);
  EXPECT_EQ(get_int(usage, "completion_tokens"), 6);
  EXPECT_EQ(get_int(usage, "total_tokens"), prompt_tokens + 6);
  for (const char* positive : {"ttft_ms", "tpot_ms", "prefill_tokens_per_second", "decode_tokens_per_second",
                               "kv_bytes", "weight_bytes", "peak_memory_bytes"}) {
    EXPECT_GT(get_double(usage, positive), 0.0) << positive;
  }
}

TEST(Run, ShowsStatistics) {
  const Outcome outcome = run_demo({"-p", "Once upon a time", "-n", "4", "--stats"});
  for (const char* word : {"prefill", "TTFT", "decode", "TPOT", "tokens/s", "KV cache", "weights"}) {
    EXPECT_NE(outcome.err.find(word), std::string::npos) << word << " in\n" << outcome.err;
  }
}

TEST(Run, StopsBeforeAStopText) {
  const Arguments options = {"-p", "Once upon a time", "-n", "12", "--temp", "0"};
  const std::string whole = run_demo(options).out;
  ASSERT_GT(whole.size(), 14u);
  const std::string stop = whole.substr(7, 5);
  Arguments with_stop = options;
  with_stop.insert(with_stop.end(), {"--stop", "never said", "--stop", stop, "--json"});
  const json::object answer = parse_object(run_demo(with_stop).out);
  EXPECT_EQ(get_string(answer, "text"), whole.substr(0, whole.find(stop)));
  EXPECT_EQ(get_string(answer, "finish_reason"), "stop");
  EXPECT_EQ(get_string(answer, "stop_reason"), stop);
}

TEST(Run, GivesTheSameTextForTheSameSeed) {
  const Arguments options = {"-p", "Once", "-n", "20", "--temp", "3", "--top-k", "0", "--top-p", "1", "--ignore-eos"};
  const auto with_seed = [&](const char* seed, const std::vector<std::string>& environment = {}) {
    Arguments arguments = options;
    if (seed != nullptr) arguments.insert(arguments.end(), {"--seed", seed});
    return run_demo(arguments, "", environment).out;
  };
  const std::string text = with_seed("5");
  EXPECT_EQ(with_seed("5"), text);
  EXPECT_NE(with_seed("6"), text);
  EXPECT_EQ(with_seed(nullptr, {"QUIRE_SEED=5"}), text);
  EXPECT_EQ(with_seed("5", {"QUIRE_SEED=6"}), text);
}

TEST(Run, ReportsLogProbabilities) {
  const json::object answer =
      parse_object(run_demo({"-p", "Once upon a time", "-n", "4", "--temp", "0", "--logprobs", "3", "--json"}).out);
  const json::array& tokens = *find_array(answer, "logprobs");
  ASSERT_EQ(tokens.size(), 4u);
  for (const json::value& value : tokens) {
    const json::object& token = value.as_object();
    const json::array& top = *find_array(token, "top_logprobs");
    ASSERT_EQ(top.size(), 3u);
    double mass = 0.0;
    for (const json::value& other : top) mass += std::exp(get_double(other.as_object(), "logprob"));
    EXPECT_GT(mass, 0.0);
    EXPECT_LE(mass, 1.0 + 1e-6);
    EXPECT_EQ(get_int(token, "id"), get_int(top[0].as_object(), "id"));
    EXPECT_EQ(get_double(token, "logprob"), get_double(top[0].as_object(), "logprob"));
  }
  const Outcome lines = run_demo({"-p", "Once upon a time", "-n", "4", "--temp", "0", "--logprobs", "3"});
  EXPECT_EQ(std::count(lines.err.begin(), lines.err.end(), '\n'), 4) << lines.err;
}

TEST(Run, TheDemoAnswersInItsTemplate) {
  const std::string answer = quire({"run", "demo", "-p", "Hello!", "--temp", "0", "-n", "40"}).out;
  EXPECT_GT(answer.size(), 5u);
  EXPECT_EQ(answer.find("<|"), std::string::npos) << answer;
}

TEST(Info, DescribesTheModel) {
  const json::object info = parse_object(quire({"info", words_model(), "--json"}).out);
  EXPECT_EQ(get_string(info, "architecture"), "LlamaForCausalLM");
  EXPECT_EQ(get_int(info, "layers"), 2);
  EXPECT_EQ(get_int(info, "hidden_size"), 32);
  EXPECT_EQ(get_int(info, "intermediate_size"), 56);
  EXPECT_EQ(get_int(info, "heads"), 2);
  EXPECT_EQ(get_int(info, "head_dim"), 16);
  EXPECT_EQ(get_int(info, "vocabulary"), 96);
  EXPECT_EQ(get_int(info, "context"), 128);
  EXPECT_EQ(find_array(info, "tensors")->size(), 21u);
  // Embedding and head; per layer two norms, four square matrices, three of the feed-forward part; the last norm.
  EXPECT_EQ(get_int(info, "parameters"), 2 * 96 * 32 + 2 * (2 * 32 + 4 * 32 * 32 + 3 * 32 * 56) + 32);
  const std::string table = quire({"info", words_model(), "--tensors"}).out;
  EXPECT_NE(table.find("blk.1.ffn_down.weight"), std::string::npos);
  EXPECT_NE(quire({"info", "demo", "--template"}).out.find("add_generation_prompt"), std::string::npos);
}

TEST(Plan, CountsTheCacheByTheGqaFormula) {
  const auto plan = [](const Arguments& more) {
    Arguments arguments = {"plan", golden("llama3-gqa-tied"), "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return parse_object(quire(arguments).out);
  };
  // K and V of 2 layers, 2 KV heads (of 4 heads), 16 dimensions.
  constexpr int64_t kValues = 2 * 2 * 16;
  EXPECT_EQ(get_int(plan({}), "kv_bytes_per_token"), 2 * kValues * 2);
  EXPECT_EQ(get_int(plan({"--kv-type", "f32"}), "kv_bytes_per_token"), 2 * kValues * 4);
  EXPECT_EQ(get_int(plan({"--cache-type-k", "f32"}), "kv_bytes_per_token"), kValues * (4 + 2));
  const json::object large = plan({"--ctx-size", "64", "--sequences", "3"});
  EXPECT_EQ(get_int(large, "kv_tokens"), 64 * 3);
  EXPECT_EQ(get_int(large, "kv_bytes"), get_int(large, "kv_tokens") * get_int(large, "kv_bytes_per_token"));
  EXPECT_TRUE(large.at("fits").as_bool());
}

TEST(Cache, KeepsPackedWeightsForTheNextStart) {
  const TemporaryFolder folder;
  const std::vector<std::string> environment = {"XDG_CACHE_HOME=" + folder.path().string(), "QUIRE_WEIGHT_CACHE=auto",
                                                "QUIRE_CPUS=none"};
  const auto run = [&](const Arguments& arguments) { return quire(arguments, "", environment).out; };
  const auto logits = [&](const std::string& cache) {
    const std::string out = folder.path() / "logits.f32";
    run({"logits", words_model(), "--ids", "1,3,4,5", "--out", out, "-t", "1", "--weight-cache", cache});
    return read_bytes(out);
  };
  const auto cached_bytes = [&](const std::string& cache) {
    return get_int(parse_object(run({"plan", words_model(), "--json", "--weight-cache", cache})),
                   "cached_weight_bytes");
  };
  const std::string expected = logits("off");
  EXPECT_EQ(logits("auto"), expected);
  EXPECT_NE(run({"cache"}).find("no packed weights are kept"), std::string::npos);
  EXPECT_EQ(logits("on"), expected);
  EXPECT_GT(cached_bytes("auto"), 0);
  EXPECT_EQ(cached_bytes("off"), 0);
  EXPECT_EQ(logits("auto"), expected);
  EXPECT_NE(run({"cache"}).find(std::filesystem::canonical(words_model()).string()), std::string::npos);
  EXPECT_NE(run({"cache", "--clear"}).find("freed"), std::string::npos);
  EXPECT_EQ(cached_bytes("auto"), 0);
  const std::string own = folder.path() / "own";
  EXPECT_EQ(logits(own), expected);
  EXPECT_GT(cached_bytes(own), 0);
  EXPECT_NE(run({"cache", "--folder", own}).find("in all"), std::string::npos);
}

// Experts are found through lists of addresses, which differ from process to process: what differs must not be in the
// file, or each start would write it again.
TEST(Cache, FindsExpertsInEveryProcess) {
  const TemporaryFolder folder;
  const std::string out = folder.path() / "logits.f32";
  for (const std::string model : {"qwen3moe/model.gguf", "mixtral", "gptq-v2-moe"}) {
    const std::filesystem::path cache = folder.path() / "cache" / model;
    const auto logits = [&] {
      quire({"logits", golden(model), "--ids", "1,3,4,5", "--out", out, "-t", "1", "--weight-cache", cache.string()},
            "", {"QUIRE_CPUS=none"});
      return read_bytes(out);
    };
    const std::string expected = logits();
    const auto written = [&] { return std::filesystem::last_write_time(*std::filesystem::directory_iterator(cache)); };
    const auto time = written();
    EXPECT_EQ(logits(), expected) << model;
    EXPECT_EQ(logits(), expected) << model;
    EXPECT_EQ(written(), time) << model;
  }
}

TEST(Tokenize, ComesBackAsTheSameText) {
  const std::string text =
      "The cat's 12 toys,  two  spaces\n\tGr\xc3\xbc\xc3\x9f"
      "e \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x99\x82!";
  const std::string ids = quire({"tokenize", "demo", text}).out;
  EXPECT_EQ(quire({"tokenize", "demo"}, text).out, ids);
  EXPECT_EQ(quire({"detokenize", "demo", ids, "--skip-special"}).out, text + '\n');
  EXPECT_EQ(quire({"detokenize", "demo", "--skip-special"}, ids).out, text + '\n');
  const json::object answer = parse_object(quire({"tokenize", "demo", text, "--json"}).out);
  EXPECT_EQ(find_array(answer, "ids")->size(), find_array(answer, "pieces")->size());
}

// The definition, from the logits of each window: its first token is replaced by the beginning of sequence, and the
// second half is scored.
TEST(Perplexity, IsWhatTheLogitsSay) {
  constexpr size_t kWindow = 16;
  const TemporaryFolder folder;
  const std::string story =
      "Once upon a time there was a little fox who ran to the river. The fox saw a red bird and "
      "asked where the bird had been. The bird had been in the north all winter long, it said.";
  write_bytes(folder.path() / "story.txt", story);
  const json::array ids = parse_object(quire({"tokenize", "demo", "--json", story}).out).at("ids").as_array();
  ASSERT_GE(ids.size(), 2 * kWindow);
  double sum = 0;
  size_t count = 0;
  for (size_t first = 0; first + kWindow <= ids.size(); first += kWindow) {
    std::string window = json::serialize(ids[0]);
    for (size_t i = 1; i < kWindow; ++i) window += "," + json::serialize(ids[first + i]);
    const std::string file = folder.path() / "logits.f32";
    quire({"logits", "demo", "--ids", window, "--out", file});
    const std::string bytes = read_bytes(file);
    std::vector<float> logits(bytes.size() / sizeof(float));
    std::memcpy(logits.data(), bytes.data(), bytes.size());
    const size_t vocab_size = logits.size() / kWindow;
    for (size_t i = kWindow / 2; i + 1 < kWindow; ++i, ++count) {
      const float* row = &logits[i * vocab_size];
      double total = 0;
      for (size_t v = 0; v < vocab_size; ++v) total += std::exp(static_cast<double>(row[v]));
      sum += std::log(total) - static_cast<double>(row[ids[first + i + 1].as_int64()]);
    }
  }
  const json::object found = parse_object(
      quire({"perplexity", "demo", "-f", folder.path() / "story.txt", "-c", std::to_string(kWindow), "--json"}).out);
  EXPECT_EQ(found.at("scored_tokens").to_number<size_t>(), count);
  EXPECT_NEAR(found.at("perplexity").as_double(), std::exp(sum / static_cast<double>(count)), 1e-4);
  const json::object steps = parse_object(quire({"perplexity", "demo", "-f", folder.path() / "story.txt", "-c",
                                                 std::to_string(kWindow), "--batch-size", "3", "--json"})
                                              .out);
  EXPECT_EQ(steps, found);
}

// A LongRoPE model whose factors change at 48 tokens, against the logits of Transformers for 70 tokens.
TEST(Logits, KnowTheLengthOfTheSequence) {
  const std::string model = QUIRE_SOURCE_DIR "/tests/golden/phi3-longrope";
  const TemporaryFolder folder;
  const std::string out = folder.path() / "logits.f32";
  std::string ids = json::serialize(parse_object(read_bytes(model + "/golden.json")).at("tokens"));
  ids = ids.substr(1, ids.size() - 2);
  quire(
      {"logits", model, "--kv-type", "f32", "--activations", "f32", "--batch-size", "16", "--ids", ids, "--out", out});
  const std::string found = read_bytes(out);
  const std::string expected = read_bytes(model + "/long.logits");
  ASSERT_EQ(found.size(), expected.size());
  for (size_t at = 0; at < found.size(); at += sizeof(float)) {
    float pair[2];
    std::memcpy(&pair[0], &found[at], sizeof(float));
    std::memcpy(&pair[1], &expected[at], sizeof(float));
    ASSERT_NEAR(pair[0], pair[1], 1e-4) << "logit " << at / sizeof(float);
  }
}

TEST(Perplexity, AModelWithoutAnOutputMatrixHasNone) {
  const std::string model = QUIRE_SOURCE_DIR "/tests/golden_embeddings";
  const TemporaryFolder folder;
  const std::string out = folder.path() / "logits.f32";
  for (const Arguments& arguments :
       {Arguments{"perplexity", model, "-f", "-"}, Arguments{"logits", model, "--ids", "1,2", "--out", out}}) {
    const Outcome outcome =
        run_program({.arguments = arguments, .directory = {}, .input = "some words", .environment = {}});
    EXPECT_EQ(outcome.trouble(), "");
    EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
    EXPECT_NE(outcome.err.find("no output matrix"), std::string::npos) << outcome.err;
  }
}

TEST(Logits, AreTheSameBytesForEveryBatchSizeAndThreadCount) {
  const TemporaryFolder folder;
  const std::string ids = "1,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34";
  const auto logits = [&](const char* batch_size, const char* threads) {
    const std::string file = folder.path() / "logits.f32";
    quire({"logits", words_model(), "--ids", ids, "--out", file, "--batch-size", batch_size, "-t", threads});
    return read_bytes(file);
  };
  const std::string whole = logits("512", "1");
  EXPECT_EQ(whole.size(), 33u * 96u * sizeof(float));
  EXPECT_TRUE(logits("1", "1") == whole);
  EXPECT_TRUE(logits("7", "3") == whole);
}

// Trained models give the same text as the reference program: 200 tokens after the beginning of sequence.
class StoryTest : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(StoryTest, IsTold) {
  const char* data = std::getenv("QUIRE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "QUIRE_TEST_DATA does not name the folder of the public test data";
  const auto models = std::filesystem::path(data) / "models";
  std::string expected = read_bytes(models / GetParam().second);
  while (expected.ends_with('\n')) expected.pop_back();
  ASSERT_GT(expected.size(), 100u);
  const std::string told =
      quire({"run", models / GetParam().first, "-p", "", "-n", "200", "--temp", "0", "-c", "256"}).out;
  EXPECT_EQ(told.substr(0, expected.size()), expected);
}

INSTANTIATE_TEST_SUITE_P(
    TestData, StoryTest,
    testing::Values(std::pair("stories260k/stories260K.gguf", "stories260k/expected/karpathy_greedy_200steps.txt"),
                    std::pair("babyllama105/babyllama105.gguf", "babyllama105/expected_runc_greedy200_m105.txt")));

TEST(TestData, TextOutsideTheVocabularyIsNoReasonToEnd) {
  const char* data = std::getenv("QUIRE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "QUIRE_TEST_DATA does not name the folder of the public test data";
  const std::string model = std::filesystem::path(data) / "models/babyllama105/babyllama105.gguf";
  for (const char* text : {"\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82", "\xf0\x9f\x99\x82", "a\xc2\xa7 b\xff"}) {
    quire({"run", model, "-p", text, "-n", "4"});
  }
}

}  // namespace
}  // namespace quire::test
