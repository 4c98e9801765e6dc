// The program as its users meet it: commands, options and what they print.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "program.h"

namespace quire::test {
namespace {

using Arguments = std::vector<std::string>;

// 96 words of which no text can be made; small enough to count by hand.
std::string words_model() { return golden("llama2-mha/model.gguf"); }

Outcome quire(const Arguments& arguments, const std::string& input = "",
              const std::vector<std::string>& environment = {}) {
  Outcome outcome = run_program({.arguments = arguments, .directory = {}, .input = input, .environment = environment});
  EXPECT_EQ(outcome.trouble(), "");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome;
}

// Continues plain text with the model in the program.
Outcome run_demo(const Arguments& more, const std::string& input = "",
                 const std::vector<std::string>& environment = {}) {
  Arguments arguments = {"run", "demo", "--raw", "-t", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return quire(arguments, input, environment);
}

json::object parse_object(const std::string& text) { return parse_json(text, "the program's output").as_object(); }

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

json::array parse_array(const std::string& text) { return parse_json(text, "the program's output").as_array(); }

TEST(Bench, MeasuresEveryCellOfTheGrid) {
  const Outcome outcome = quire(
      {"bench",   "offline", "--shape",         "tiny", "--format", "Q8_0", "-p", "8,0", "-n",    "3", "-d", "0,64",
       "--batch", "1,3",     "--shared-prefix", "0",    "-r",       "2",    "-t", "1",   "--json"});
  const json::array rows = parse_array(outcome.out);
  ASSERT_EQ(rows.size(), 8u);  // prefill and decode, two depths, two numbers of sequences
  std::set<std::string> tests;
  for (const json::value& value : rows) {
    const json::object& row = value.as_object();
    tests.insert(get_string(row, "test"));
    EXPECT_EQ(get_string(row, "model"), "tiny Q8_0");
    EXPECT_GT(get_double(row, "median_tokens_per_second"), 0.0);
    EXPECT_EQ(find_array(row, "tokens_per_second")->size(), 2u);
  }
  EXPECT_TRUE(tests.contains("prefill 8 @ 64 x 3"));
  EXPECT_TRUE(tests.contains("decode 3"));
  EXPECT_EQ(tests.size(), 8u);
  const std::string table = quire({"bench", words_model(), "-p", "4", "-n", "2", "-d", "32", "--batch", "2",
                                   "--shared-prefix", "32", "-r", "1", "-t", "1", "--roof"})
                                .out;
  EXPECT_NE(table.find("decode 2 @ 32 x 2, 32 shared"), std::string::npos) << table;
  EXPECT_NE(table.find("of the roof"), std::string::npos) << table;
}

TEST(Bench, HoldsKernelsAgainstTheRoofs) {
  const TemporaryFolder folder;
  const std::filesystem::path plot = folder.path() / "plot.svg";
  const Arguments sizes = {"--shape", "tiny", "--format", "Q4_0,F16", "--tokens",   "1,64", "--depth",     "64",
                           "-t",      "1",    "--rounds", "1",        "--round-ms", "0.1",  "--megabytes", "8"};
  Arguments kernel = {"bench", "kernel", "--json", "--plot", plot};
  kernel.insert(kernel.end(), sizes.begin(), sizes.end());
  std::set<std::string> operations;
  for (const json::value& value : parse_array(quire(kernel).out)) {
    const json::object& row = value.as_object();
    operations.insert(get_string(row, "operation"));
    EXPECT_GT(get_double(row, "microseconds"), 0.0) << get_string(row, "test");
  }
  EXPECT_EQ(operations.size(), 15u);
  const std::string drawn = read_bytes(plot);
  EXPECT_TRUE(drawn.starts_with("<svg"));
  EXPECT_NE(drawn.find("matmul Q4_0"), std::string::npos);
  kernel = {"bench",       "kernel", "--json",          "--op", "attention_decode", "--kv-type", "q4_0",
            "--sequences", "3",      "--shared-prefix", "32"};
  kernel.insert(kernel.end(), sizes.begin(), sizes.end());
  const json::object shared = parse_array(quire(kernel).out).at(0).as_object();
  EXPECT_NE(get_string(shared, "test").find("32 shared"), std::string::npos);
  EXPECT_EQ(get_string(shared, "against"), "sharing off");
  EXPECT_GT(get_double(shared, "speedup"), 0.0);
  kernel = {"bench", "kernel", "--op", "norm_rope"};
  kernel.insert(kernel.end(), sizes.begin(), sizes.end());
  const std::string fused = quire(kernel).out;
  EXPECT_NE(fused.find("x the speed of rms_norm + rope"), std::string::npos) << fused;
  kernel = {"bench", "kernel", "--csv", "--op", "rms_norm"};
  kernel.insert(kernel.end(), sizes.begin(), sizes.end());
  const std::string csv = quire(kernel).out;
  EXPECT_TRUE(csv.starts_with("bench,test,value,")) << csv;
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 3);
}

TEST(Bench, MeasuresRoofsAndComparesResults) {
  const TemporaryFolder folder;
  const Outcome outcome = quire({"bench", "roof", "-t", "1,2", "--megabytes", "16", "--passes", "1", "--json"});
  EXPECT_EQ(parse_array(outcome.out).size(), 6u);
  const std::string file = folder.path() / "roof.json";
  write_bytes(file, outcome.out);
  EXPECT_NE(quire({"bench", "compare", file, file}).out.find("1.000"), std::string::npos);
}

TEST(Bench, WritesWeightsThatAreAModel) {
  const TemporaryFolder folder;
  const std::string file = folder.path() / "tiny.gguf";
  quire({"bench", "weights", "--shape", "tiny", "--format", "Q4_K_M", "-o", file});
  EXPECT_EQ(get_int(parse_object(quire({"info", file, "--json"}).out), "layers"), 2);
  const Arguments plan = {"plan", "--shape", "tiny", "--format", "Q4_K_M", "--memory", "1GiB", "--json"};
  EXPECT_EQ(quire(plan).out, quire({"plan", file, "--memory", "1GiB", "--json"}).out);
}

// What a machine measured is there for the next model that it loads; another number of threads does without.
TEST(Tune, IsKeptForTheNextStart) {
  const TemporaryFolder folder;
  const std::vector<std::string> environment = {"XDG_CACHE_HOME=" + folder.path().string(), "QUIRE_TUNING=auto"};
  const Arguments quick = {"-t", "2", "--rounds", "1", "--round-ms", "0", "--megabytes", "1"};
  const auto tune = [&](Arguments arguments) {
    arguments.insert(arguments.end(), quick.begin(), quick.end());
    return quire(arguments, "", environment).out;
  };
  const auto files = [&] { return std::distance(std::filesystem::directory_iterator(folder.path()), {}); };
  if (quire({"bench", "roof", "-t", "1", "--megabytes", "1", "--passes", "1"}).out.find("reference") !=
      std::string::npos) {
    GTEST_SKIP() << "only the reference kernels run here";
  }
  const json::object dry = parse_object(tune({"tune", "--shape", "tiny", "--format", "Q8_0", "--dry-run", "--json"}));
  EXPECT_EQ(find_array(dry, "matrices")->size(), 4u);  // q and o, k and v, gate and up and head, down
  EXPECT_EQ(files(), 0);
  EXPECT_NE(tune({"tune", "--shape", "tiny", "--format", "Q8_0"}).find("Q8_0 512x256"), std::string::npos);
  tune({"tune", words_model()});  // beside the others
  EXPECT_EQ(files(), 1);
  const auto file = *std::filesystem::directory_iterator(folder.path() / "quire");
  const json::object kept = parse_object(read_bytes(file.path()));
  EXPECT_GT(find_array(kept, "matrices")->size(), 4u);
  const auto logits = [&](const char* threads, const std::string& tuning) {
    const std::string out = folder.path() / "logits.f32";
    const Outcome outcome =
        quire({"logits", words_model(), "--ids", "1,3,4,5", "--out", out, "-t", threads, "--tuning", tuning}, "",
              environment);
    return std::pair(read_bytes(out), outcome.err);
  };
  const auto [expected, silence] = logits("2", "none");
  EXPECT_EQ(logits("2", "auto"), std::pair(expected, silence));
  EXPECT_EQ(logits("2", file.path()), std::pair(expected, silence));
  const auto [bits, warning] = logits("1", "auto");
  EXPECT_EQ(bits, expected);
  EXPECT_NE(warning.find("measured with 2 threads, here 1 run"), std::string::npos) << warning;
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

// The definition, from the logits of each window: its first token gives way to the one that begins texts, the second
// half is scored.
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

bool has_program(const std::string& name) {
  try {
    run_program({.arguments = {"--version"}, .directory = {}, .input = "", .environment = {}, .program = name});
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

TEST(Man, RendersWithoutWarnings) {
  const std::string page = quire({"man"}).out;
  for (const char* option : {"\\-\\-temperature", "\\-\\-ctx\\-size", "QUIRE_THREADS"}) {
    EXPECT_NE(page.find(option), std::string::npos) << option;
  }
  if (!has_program("groff")) GTEST_SKIP() << "groff is not installed";
  const Outcome rendered = run_program(
      {.arguments = {"-man", "-Tutf8", "-ww"}, .directory = {}, .input = page, .environment = {}, .program = "groff"});
  EXPECT_EQ(rendered.exit_code, 0);
  EXPECT_EQ(rendered.err, "");
  EXPECT_NE(rendered.out.find("it could not be done"), std::string::npos);
}

TEST(Completion, IsAScriptThatCompletes) {
  for (const char* shell : {"zsh", "fish"}) EXPECT_GT(quire({"completion", shell}).out.size(), 500u);
  const std::string script = quire({"completion", "bash"}).out;
  if (!has_program("bash")) GTEST_SKIP() << "bash is not installed";
  const auto complete = [&](const std::string& words, int index) {
    const std::string question = script + "\nCOMP_WORDS=(" + words + ")\nCOMP_CWORD=" + std::to_string(index) +
                                 "\n_quire\necho \"${COMPREPLY[@]}\"\n";
    const Outcome outcome =
        run_program({.arguments = {}, .directory = {}, .input = question, .environment = {}, .program = "bash"});
    EXPECT_EQ(outcome.err, "");
    return outcome.out;
  };
  EXPECT_EQ(complete("quire det", 1), "detokenize\n");
  EXPECT_EQ(complete("quire run demo --temperat", 3), "--temperature\n");
}

TEST(Help, SaysSomethingAboutEveryOption) {
  std::istringstream page(quire({"man"}).out);
  int64_t num_options = 0;
  for (std::string line; std::getline(page, line);) {
    if (!line.starts_with(".B ") || line == ".B quire") continue;
    ++num_options;
    std::string text;
    std::getline(page, text);
    EXPECT_GT(text.size(), 5u) << line;
    EXPECT_FALSE(text.starts_with('.')) << line;
  }
  EXPECT_GT(num_options, 80);
  for (const char* command :
       {"run", "info", "plan", "tokenize", "detokenize", "logits", "bench", "tune", "man", "completion"}) {
    EXPECT_NE(quire({command, "--help"}).out.find("--help"), std::string::npos);
  }
  EXPECT_TRUE(quire({"--version"}).out.starts_with("quire "));
}

// Trained models tell the story that their own program tells: 200 tokens behind the beginning of sequence.
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
