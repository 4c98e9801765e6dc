// Error messages: a hundred bad inputs, each with a message of at most five lines that says what was found, what was
// expected and what to do. bad_input.snapshot holds every message for review; QUIRE_UPDATE_SNAPSHOT=1 rewrites it.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <future>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bad_files.h"
#include "program.h"

namespace quire::test {
namespace {

struct Case {
  std::vector<std::string> arguments;
  std::string input = "";
  std::vector<std::string> environment = {};
};

std::vector<std::string> run_with(const std::string& model, const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"run", model, "-p", "abc"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::vector<Case> file_cases() {
  std::vector<Case> cases;
  for (const char* model : {"nothing.gguf",
                            "good.gguf/inside",
                            "empty.gguf",
                            "text.gguf",
                            "page.gguf",
                            "pointer.gguf",
                            "pytorch.bin",
                            "pickle.bin",
                            "weights.safetensors",
                            "config.json",
                            "half.gguf",
                            "header_only.gguf",
                            "version1.gguf",
                            "version9.gguf",
                            "big_endian.gguf",
                            "lying_count.gguf",
                            "unknown_architecture.gguf",
                            "unreadable_type.gguf",
                            "unknown_type.gguf",
                            "missing_tensor.gguf",
                            "missing_key.gguf",
                            "model-00001-of-00002.gguf",
                            "second_part/model-00002-of-00002.gguf",
                            "empty_folder",
                            "broken_config",
                            "array_config",
                            "unknown_architecture",
                            "no_architecture",
                            "unknown_quantization",
                            "five_bits",
                            "size_is_text",
                            "size_is_negative",
                            "size_is_huge",
                            "odd_kv_heads",
                            "unknown_activation",
                            "unknown_rope",
                            "wrong_shape",
                            "missing_size",
                            "missing_tensor",
                            "truncated_weights",
                            "pointer_weights",
                            "unknown_dtype",
                            "broken_header",
                            "no_weights",
                            "pickled_weights",
                            "missing_shard",
                            "broken_index"}) {
    cases.push_back({{"info", model}});
  }
  cases.push_back({{"info", std::string(5000, 'x')}});
  for (const char* model :
       {"no_tokenizer.gguf", "unknown_tokenizer.gguf", "no_numbers.gguf", "no_tokenizer", "broken_tokenizer",
        "unknown_tokenizer", "broken_template", "refusing_template", "broken_generation"}) {
    cases.push_back({run_with(model, {})});
  }
  cases.push_back({{"run", "larger_tokenizer", "-p", "the quick brown fox"}});
  return cases;
}

std::vector<Case> usage_cases() {
  std::vector<Case> cases = {
      {{}},
      {{"rum"}},
      {{"serv", "demo", "--port", "9000"}},
      {{"pull", "smollm2"}},
      {{"run", "meta-llama/Llama-3.2-1B"}},
      {{"serve", "org/name"}},
      {{"-m", "good.gguf"}},
      {{"--bogus", "serv"}},
      {{"serve"}},
      {{"serve", "-m", "good.gguf", "--check", "-md", "draft.gguf"}},
      {{"run", "good.gguf", "-p", "a", "--speculative-config", "{\"method\""}},
      {{"run", "good.gguf", "-p", "a", "--speculative-config", "{\"num_speculative_token\": 2}"}},
      {{"run", "good.gguf", "-p", "a", "--speculative-config", "{\"num_speculative_tokens\": \"2\"}"}},
      {{"run", "good.gguf", "-p", "a", "--draft-max", "2"}},
      {{"run", "good.gguf", "-p", "a", "--speculative-config", "clairvoyance"}},
      {{"run", "good.gguf", "--port", "80"}},
      {{"info", "good.gguf", "--config", "nothing.yaml"}},
      {{"info", "--config", "config.json"}},
      {{"help", "serv"}},
      {{"run"}},
      {{"run", "good.gguf", "abc", "def"}},
      {{"run", "good.gguf"}},
      {{"run", "good", "-p", ""}},  // its tokenizer adds no token
      {{"run", "good.gguf", "-f", "nothing.txt"}},
      {{"run", "good.gguf", "-p", "abc", "-f", "config.json"}},
      {{"tokenize"}},
      {{"tokenize", "good.gguf", "a", "--bogus"}},
      {{"detokenize", "good.gguf", "1,two,3"}},
      {{"detokenize", "good.gguf", "1,96"}},
      {{"logits", "good.gguf", "--ids", "1,2"}},
      {{"logits", "good.gguf", "--out", "x"}},
      {{"logits", "good.gguf", "--ids", "1,-2", "--out", "x"}},
      {{"logits", "good.gguf", "--ids", "1,2", "-p", "abc", "--out", "x"}},
      {{"logits", "good.gguf", "--ids", "1,2", "--out", "good.gguf/x", "--isa", "reference", "-t", "1"}},
      {{"completion", "tcsh"}},
      {{"compress", "good.gguf"}},
      {{"compress", "good.gguf", "-o", "out"}},
      {{"compress", "good.gguf", "-o", "out", "--method", "magic"}},
      {{"compress", "good.gguf", "-o", "out", "--bits", "9"}},
      {{"compress", "good.gguf", "-o", "out", "--group", "33"}},
      {{"compress", "nothing", "-o", "out"}},
      {{"compress", "good.gguf", "-o", "out", "--method", "wanda", "--sparsity", "5:4"}},
      {{"compress", "good.gguf", "-o", "out", "--sparsity", "2:4"}},
      {{"compress", "good.gguf", "-o", "kept", "--keep", "elbow"}},
      {{"compress", "good.gguf", "-o", "out", "--method", "structured"}},
      {{"compress", "good.gguf", "-o", "smaller", "--method", "structured", "--layers", "99"}},
      {{"compress", "good.gguf", "-o", "out", "--method", "rtn", "--group", "tensor"}},
      {{"compress", "report"}},
      {{"compress", "report", "good.gguf", "--against", "nothing", "-f", "text"}},
      {{"inspect", "nothing"}},
      {{"inspect", "good.gguf", "--tensor", "elbow"}},
      {{"plan", "good.gguf", "--memory", "20K", "--isa", "reference", "-t", "1", "--no-huge-pages"}},
      {{"plan", "good.gguf", "--ctx-size", "1000G"}},
      {{"plan", "good.gguf", "--cpus", "0-,1"}},
      {{"--log-level", "loud", "info", "good.gguf"}},
      {{"info", "good.gguf"}, "", {"QUIRE_LOG_LEVEL=loud"}},
      {{"plan", "good.gguf"}, "", {"QUIRE_THREADS=many"}},
  };
  std::string ids = "1";
  for (int i = 0; i < 128; ++i) ids += ",1";
  cases.push_back({{"logits", "good.gguf", "--ids", ids, "--out", "x"}});
  return cases;
}

std::vector<Case> flag_cases() {
  std::vector<Case> cases;
  const std::vector<std::vector<std::string>> flags = {
      {"--bogus"},
      {"--prot", "9000", "--xyzzy=1"},
      {"--promt", "x"},
      {"--rope-freq-base", "10000"},
      {"--mirostat=3"},
      {"--dry-base=0.5"},
      {"--xtc-probability=2"},
      {"--chat-template", "nothing.jinja"},
      {"--chat-template", "{% if %}"},
      {"--grammar", "root ::= (\"a\""},
      {"--grammar-file", "nothing.gbnf"},
      {"--json-schema", R"({"properties": {"a": {"type": "nonsense"}}})"},
      {"--json-schema", "{}", "--grammar", "root ::= \"a\""},
      {"-hf", "org/name"},
      {"-n"},
      {"-n", "many"},
      {"-n", "-2"},
      {"-n", "500"},
      {"-n", "3", "-n", "4"},
      {"--temperature", "-1"},
      {"--temperature", "nan"},
      {"--temperature", "warm"},
      {"--top-k", "-5"},
      {"--top-p", "3"},
      {"--top-p", "0"},
      {"--min-p", "2"},
      {"--typical-p", "-0.5"},
      {"--repetition-penalty", "0"},
      {"--presence-penalty", "9"},
      {"--frequency-penalty", "-9"},
      {"--logit-bias", "abc"},
      {"--logit-bias", "5"},
      {"--logit-bias", "500:1"},
      {"--logit-bias", "5:1000"},
      {"--seed", "lucky"},
      {"--seed", "-7"},
      {"--logprobs", "97"},
      {"--min-tokens", "-1"},
      {"--kv-type", "q3"},
      {"--cache-type-k", "int2"},
      {"--ctx-size", "-1"},
      {"--ctx-size", "large"},
      {"--ctx-size", "2"},
      {"--memory", "little"},
      {"--memory", "0"},
      {"--memory", "30K", "--isa", "reference", "-t", "1"},  // the sizes in this message are of one kernel table
      {"--threads", "0"},
      {"--threads", "5000"},
      {"--isa", "mmx"},
      {"--activations", "int4"},
      {"--batch-size", "0"},
      {"--sequences", "0"},
      {"--max-num-seqs", "0"},
      {"-n", "3", "--max-tokens", "4"},
      {"--one-answer=maybe"},
  };
  for (const auto& flag : flags) cases.push_back({run_with("good", flag)});
  cases.push_back({run_with("good", {}), "", {"QUIRE_TOP_P=7"}});
  return cases;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

std::string command_line(const Case& item) {
  std::string line = "$";
  for (const std::string& variable : item.environment) line += ' ' + variable;
  line += " quire";
  for (const std::string& argument : item.arguments) {
    const bool quote = argument.empty() || argument.find(' ') != std::string::npos;
    const std::string shown = argument.size() > 60 ? argument.substr(0, 20) + "..." : argument;
    line += quote ? " '" + shown + '\'' : ' ' + shown;
  }
  return line;
}

// Replaces text that differs between machines.
void make_stable(std::string& text, const std::filesystem::path& folder) {
  replace_all(text, folder.string(), "TMP");
  constexpr std::string_view kTables = "this machine and build run ";
  const size_t at = text.find(kTables);
  if (at != std::string::npos) {
    const size_t begin = at + kTables.size();
    text.replace(begin, text.find(';', begin) - begin, "TABLES");
  }
}

// The blocks of the file, each with its empty line.
std::vector<std::string> blocks_of(const std::string& text) {
  std::vector<std::string> blocks;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("$ ") || blocks.empty()) blocks.emplace_back();
    blocks.back() += line + '\n';
  }
  return blocks;
}

std::vector<Case> serving_cases() {
  std::vector<Case> cases = {
      {{"bench"}},
      {{"bench", "good.gguf", "--shape", "tiny"}},
      {{"bench", "offline", "--shape", "llama-9"}},
      {{"bench", "offline", "--shape", "tiny", "--format", "Q9"}},
      {{"bench", "offline", "good.gguf", "--depth", "1,two"}},
      {{"bench", "offline", "good.gguf", "-p", "0", "-n", "0"}},
      {{"bench", "offline", "good.gguf", "--depth", "40", "--shared-prefix", "40"}},
      {{"bench", "kernel", "--op", "dance"}},
      {{"bench", "kernel", "--matrix", "7"}},
      {{"bench", "kernel", "--format", "I8"}},
      {{"bench", "kernel", "--processor-time", "-t", "2"}},
      {{"bench", "kernel", "--depth", "64", "--shared-prefix", "64"}},
      {{"tune"}},
      {{"tune", "good.gguf", "--isa", "reference"}},
      {{"tune", "nothing.gguf", "--dry-run"}},
      {{"bench", "good.gguf", "--tuning", "nothing.json"}},
      {{"bench", "good.gguf", "--weight-cache", "of"}},
      {{"bench", "good.gguf", "--weight-cache", "on"}, "", {"HOME=", "XDG_CACHE_HOME="}},
      {{"cache"}, "", {"HOME=", "XDG_CACHE_HOME="}},
      {{"convert", "good.gguf"}},
      {{"convert", "good.gguf", "good.gguf"}},
      {{"convert", "good.gguf", "new", "--type", "q8_0"}},
      {{"convert", "good.gguf", "new.gguf", "--type", "wide"}},
      {{"convert", "good.gguf", "nothing/new.gguf"}},
      {{"bench", "compare", "config.json", "config.json"}},
      {{"bench", "weights", "--shape", "tiny", "-o", "good.gguf/x"}},
      {{"bench", "serve", "--base-url", "ftp://here"}},
      {{"bench", "serve", "--base-url", "http://127.0.0.1:1", "-n", "1"}},
      {{"bench", "serve", "--rate", "fast"}},
      {{"bench", "serve", "--input-len", "some"}},
      {{"bench", "serve", "--compare", "good.gguf", "config.json"}},
      {{"bench", "batch", "good.gguf"}},
      {{"bench", "batch", "good.gguf", "--prompts", "nothing.jsonl"}},
      {{"bench", "speculation", "good.gguf", "--random", "2"}},
      {{"bench", "speculation", "good.gguf", "--acceptance", "0.5"}},
      {{"bench", "speculation", "good.gguf", "--acceptance", "2", "--random", "2"}},
      {{"bench", "speculation", "--shape", "tiny", "--acceptance", "0.5", "--prompts", "x"}},
      {{"simulate", "--cost", "1", "2"}},
      {{"simulate", "--trace", "nothing.csv"}},
      {{"simulate", "--scheduling-policy", "luck"}},
      {{"simulate", "--target", "both"}},
  };
  // With --check nothing is listened on, so that a case that wrongly passes ends too.
  const std::vector<std::vector<std::string>> flags = {{"--port", "80800"},
                                                       {"--prot", "9000"},
                                                       {"-tp", "two"},
                                                       {"--itl-target-ms", "fast"},
                                                       {"--host", ""},
                                                       {"--scheduling-policy", "luck"},
                                                       {"--static-batching", "yes"},
                                                       {"--preemption-mode", "none"},
                                                       {"--target", "both"},
                                                       {"--itl-target-ms", "-1"},
                                                       {"--swap-space", "much"},
                                                       {"--ssl-certfile", "config.json"},
                                                       {"--ssl-certfile", "config.json", "--ssl-keyfile", "nothing"},
                                                       {"--api-key-file", "nothing"},
                                                       {"--api-key", ""},
                                                       {"--cors-origin", "everyone"},
                                                       {"--trusted-proxy", "proxy.example"},
                                                       {"--log-requests", "loud"},
                                                       {"--max-num-queued-reqs", "0"},
                                                       {"--memory", "20K", "--isa", "reference", "-t", "1"}};
  for (const std::vector<std::string>& flag : flags) {
    std::vector<std::string> arguments = {"serve", "good.gguf", "--check"};
    arguments.insert(arguments.end(), flag.begin(), flag.end());
    cases.push_back({arguments});
  }
  return cases;
}

// The result of each case. Half of a case's time is waiting for the program to start and end, so cases run in parallel.
std::vector<Outcome> run_all(const std::vector<Case>& cases, const std::filesystem::path& folder) {
  std::vector<Outcome> outcomes(cases.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < cases.size(); i = next++) {
      outcomes[i] = run_program({cases[i].arguments, folder, cases[i].input, cases[i].environment});
    }
  };
  std::vector<std::future<void>> workers(std::max(2u, std::thread::hardware_concurrency()));
  for (auto& worker : workers) worker = std::async(std::launch::async, work);
  for (auto& worker : workers) worker.get();
  return outcomes;
}

TEST(BadInput, IsAnsweredInAFewLinesThatHelp) {
  const TemporaryFolder folder;
  make_bad_files(folder.path());
  std::vector<Case> cases = file_cases();
  for (const auto& more : {usage_cases(), flag_cases(), serving_cases()})
    cases.insert(cases.end(), more.begin(), more.end());
  EXPECT_GE(cases.size(), 50u);

  const std::vector<Outcome> outcomes = run_all(cases, folder.path());
  std::string found;
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string line = command_line(cases[i]);
    const Outcome& outcome = outcomes[i];
    EXPECT_EQ(outcome.trouble(), "") << line;
    EXPECT_TRUE(outcome.exit_code == 1 || outcome.exit_code == 2) << line << "\nexit code " << outcome.exit_code;
    EXPECT_FALSE(outcome.err.empty()) << line;
    EXPECT_LE(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 5) << line << '\n' << outcome.err;
    std::string message = outcome.out + outcome.err;
    make_stable(message, folder.path());
    found += line + "\nexit code " + std::to_string(outcome.exit_code) + '\n' + message + '\n';
  }

  const std::filesystem::path snapshot = std::filesystem::path(QUIRE_SOURCE_DIR) / "tests/cli/bad_input.snapshot";
  if (std::getenv("QUIRE_UPDATE_SNAPSHOT") != nullptr) {
    write_bytes(snapshot, found);
    GTEST_SKIP() << "wrote " << snapshot << "; review its difference";
  }
  const std::vector<std::string> expected = blocks_of(read_bytes(snapshot));
  const std::vector<std::string> now = blocks_of(found);
  ASSERT_EQ(now.size(), expected.size()) << "cases came or went: QUIRE_UPDATE_SNAPSHOT=1 rewrites the snapshot";
  for (size_t i = 0; i < now.size(); ++i) EXPECT_EQ(now[i], expected[i]);
}

}  // namespace
}  // namespace quire::test
