// The program's documentation: help, version, the manual page, docs/flags.md, the shells' completions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "answers.h"

namespace quire::test {
namespace {

// Runs another program with a script on its standard input.
Outcome run_other(const std::string& program, const Arguments& arguments, const std::string& input) {
  return run_program({.arguments = arguments, .directory = {}, .input = input, .environment = {}, .program = program});
}

bool has_program(const std::string& name) {
  try {
    run_other(name, {"--version"}, "");
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
  const Outcome rendered = run_other("groff", {"-man", "-Tutf8", "-ww"}, page);
  EXPECT_EQ(rendered.exit_code, 0);
  EXPECT_EQ(rendered.err, "");
  EXPECT_NE(rendered.out.find("it could not be done"), std::string::npos);
}

// What a shell offers for a line whose last word is being typed.
struct Completion {
  std::vector<std::string> words;
  std::string expected;
};

const std::vector<Completion> kCompletions = {{{"quire", "det"}, "detokenize"},
                                              {{"quire", "--vers"}, "--version"},
                                              {{"quire", "run", "demo", "--temperat"}, "--temperature"},
                                              {{"quire", "bench", "ker"}, "kernel"},
                                              {{"quire", "bench", "kernel", "--processor"}, "--processor-time"},
                                              {{"quire", "serve", "--api-key-f"}, "--api-key-file"},
                                              {{"quire", "completion", "fi"}, "fish"}};

std::string joined(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
  return line;
}

TEST(Completion, OfBashCompletes) {
  if (!has_program("bash")) GTEST_SKIP() << "bash is not installed";
  const std::string script = quire({"completion", "bash"}).out;
  EXPECT_EQ(run_other("bash", {"-n"}, script).err, "");
  for (const auto& [words, expected] : kCompletions) {
    const std::string question = script + "\nCOMP_WORDS=(" + joined(words) +
                                 ")\nCOMP_CWORD=" + std::to_string(words.size() - 1) +
                                 "\n_quire\necho \"${COMPREPLY[@]}\"\n";
    const Outcome outcome = run_other("bash", {}, question);
    EXPECT_EQ(outcome.err, "");
    EXPECT_EQ(outcome.out, expected + "\n") << joined(words);
  }
}

TEST(Completion, OfZshCompletes) {
  if (!has_program("zsh")) GTEST_SKIP() << "zsh is not installed";
  const std::string script = quire({"completion", "zsh"}).out;
  EXPECT_EQ(run_other("zsh", {"-f", "-n"}, script).err, "");
  for (const auto& [words, expected] : kCompletions) {
    // Replaces the shell's completion system: keeps the words that begin like the typed one.
    const std::string question =
        "compdef() { }\n_files() { }\n"
        "_describe() { for word in ${(P)@[-1]}; do [[ $word == $PREFIX* ]] && print -r -- ${word%%:*}; done }\n" +
        script + "\nwords=(" + joined(words) + ")\nCURRENT=" + std::to_string(words.size()) +
        "\nPREFIX=" + words.back() + "\n_quire\n";
    const Outcome outcome = run_other("zsh", {"-f"}, question);
    EXPECT_EQ(outcome.err, "");
    EXPECT_EQ(outcome.out, expected + "\n") << joined(words);
  }
}

TEST(Completion, OfFishCompletes) {
  if (!has_program("fish")) GTEST_SKIP() << "fish is not installed";
  const TemporaryFolder folder;
  const std::string script = folder.path() / "quire.fish";
  write_bytes(script, quire({"completion", "fish"}).out);
  EXPECT_EQ(run_other("fish", {"-n", script}, "").err, "");
  for (const auto& [words, expected] : kCompletions) {
    const Outcome outcome =
        run_other("fish", {"-N", "-c", "source " + script + "; complete -C '" + joined(words) + "'"}, "");
    EXPECT_EQ(outcome.err, "");
    EXPECT_EQ(outcome.out.substr(0, outcome.out.find_first_of("\t\n")), expected) << joined(words) << '\n'
                                                                                  << outcome.out;
  }
}

TEST(Help, SaysSomethingAboutEveryFlag) {
  std::istringstream page(quire({"man"}).out);
  int64_t num_flags = 0;
  for (std::string line; std::getline(page, line);) {
    if (!line.starts_with(".B ") || line == ".B quire") continue;
    ++num_flags;
    std::string text;
    std::getline(page, text);
    EXPECT_GT(text.size(), 4u) << line;
    EXPECT_FALSE(text.starts_with('.')) << line;
  }
  EXPECT_GT(num_flags, 80);
}

TEST(Help, IsThereForEveryCommand) {
  const std::string all = quire({"--help-all"}).out;
  for (const char* command :
       {"run", "serve", "info", "plan", "tokenize", "detokenize", "logits", "perplexity", "inspect", "compress",
        "convert", "bench", "tune", "cache", "simulate", "man", "completion", "version", "help"}) {
    const std::string page = quire({command, "--help"}).out;
    EXPECT_NE(page.find(std::string("Usage: quire ") + command), std::string::npos) << page;
    EXPECT_EQ(quire({"help", command}).out, page);
    EXPECT_NE(all.find(page), std::string::npos) << command;
  }
  EXPECT_EQ(quire({"help", "bench", "kernel"}).out, quire({"bench", "kernel", "-h"}).out);
  EXPECT_EQ(quire({"help"}).out, quire({"--help"}).out);
  EXPECT_NE(quire({"serve", "--help"}).out.find("(default: 8080) [QUIRE_PORT]"), std::string::npos);
}

TEST(Help, FitsAHundredColumns) {
  std::istringstream lines(quire({"--help-all"}).out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
}

TEST(Help, TellsTheVersion) {
  const std::string version = quire({"--version"}).out;
  EXPECT_TRUE(version.starts_with("quire "));
  EXPECT_EQ(quire({"-V"}).out, version);
  EXPECT_EQ(quire({"version"}).out, version);
}

TEST(Help, TheFlagsPageIsUpToDate) {
  const std::filesystem::path page = std::filesystem::path(QUIRE_SOURCE_DIR) / "docs/flags.md";
  EXPECT_EQ(read_bytes(page), quire({"man", "--markdown"}).out)
      << "write it again: quire man --markdown > docs/flags.md";
}

// The page's rows of "the same" are names in the program's own table.
TEST(PeerFlags, TheSameMeansThatTheFlagIsThere) {
  const std::string own = quire({"--help"}).out + quire({"run", "--help"}).out + quire({"serve", "--help"}).out;
  std::istringstream page(quire({"man", "--markdown"}).out);
  int64_t num_rows = 0;
  for (std::string line; std::getline(page, line);) {
    const bool is_same = line.find(" | the same | ") != std::string::npos;
    const bool is_other =
        line.find(" | no effect | ") != std::string::npos || line.find(" | refused | ") != std::string::npos;
    num_rows += is_same || is_other ? 1 : 0;
    const std::string names = line.substr(0, line.find(" | "));
    for (size_t at = names.find("`-"); at != std::string::npos; at = names.find("`-", at + 1)) {
      const std::string name = names.substr(at + 1, names.find('`', at + 1) - at - 1);
      const bool is_own = own.find(" " + name + ",") != std::string::npos ||
                          own.find(" " + name + " ") != std::string::npos ||
                          own.find(" " + name + "\n") != std::string::npos;
      if (is_same || is_other) {
        EXPECT_EQ(is_own, is_same) << name;
      }
    }
  }
  EXPECT_GE(num_rows, 60);
}

// The flags in a text: "--" and a name, with no letter before.
std::set<std::string> flags_in(const std::string& text) {
  std::set<std::string> flags;
  const auto is_inside = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
  };
  for (size_t at = text.find("--"); at != std::string::npos;) {
    size_t end = at + 2;
    while (end < text.size() && is_inside(text[end])) ++end;
    const bool is_word = at == 0 || (!is_inside(text[at - 1]) && text[at - 1] != ')');
    if (is_word && end > at + 2 && std::islower(static_cast<unsigned char>(text[at + 2])) != 0) {
      flags.insert(text.substr(at, end - at));
    }
    at = text.find("--", end);
  }
  return flags;
}

// What stands between double quotes, the text of messages.
std::string quoted_text(const std::string& source) {
  std::string text;
  std::istringstream lines(source);
  for (std::string line; std::getline(lines, line);) {
    bool is_quoted = false;
    for (size_t i = 0; i < line.size(); ++i) {
      if (line[i] == '\\') {
        ++i;
        text += ' ';
      } else if (line[i] == '"') {
        is_quoted = !is_quoted;
        text += ' ';
      } else if (is_quoted) {
        text += line[i];
      }
    }
    text += '\n';
  }
  return text;
}

// Advice must not name what the program lacks.
TEST(Flags, ThatMessagesAndDocsNameAreThere) {
  namespace fs = std::filesystem;
  const fs::path root = QUIRE_SOURCE_DIR;
  std::set<std::string> known = flags_in(quire({"man", "--markdown"}).out);
  // Of cmake, nvcc and hf.
  for (const char* other : {"--build", "--install", "--preset", "--fmad", "--local-dir", "--help"}) known.insert(other);
  for (const char* folder : {"tools", "tests"}) {
    for (const fs::directory_entry& file : fs::recursive_directory_iterator(root / folder)) {
      const fs::path extension = file.path().extension();
      if (extension != ".py") continue;
      std::istringstream lines(read_bytes(file.path()));
      for (std::string line; std::getline(lines, line);) {
        if (line.find("add_argument(\"--") != std::string::npos) known.merge(flags_in(line));
      }
    }
  }
  const auto expect_known = [&](const fs::path& file, const std::string& text) {
    for (const std::string& flag : flags_in(text)) EXPECT_TRUE(known.contains(flag)) << flag << " in " << file;
  };
  for (const fs::directory_entry& page : fs::directory_iterator(root / "docs")) {
    if (page.path().extension() == ".md") expect_known(page.path(), read_bytes(page.path()));
  }
  expect_known("README.md", read_bytes(root / "README.md"));
  for (const fs::directory_entry& file : fs::recursive_directory_iterator(root / "src")) {
    const std::string name = file.path().filename();
    const bool is_source = name.ends_with(".cpp") && !name.ends_with("_test.cpp");
    if (is_source) expect_known(file.path(), quoted_text(read_bytes(file.path())));
  }
}

// The lines that people paste.
TEST(PeerFlags, CommandLinesOfOtherProgramsWork) {
  const Outcome llama =
      quire({"run", "-m",  "demo", "-ngl", "99", "-fa", "on", "--jinja", "--no-mmap", "-c",      "0",  "-b",
             "256", "-ub", "128",  "-t",   "1",  "-n",  "3",  "--temp",  "0",         "-no-cnv", "-p", "Once"});
  EXPECT_EQ(llama.out, quire({"run", "demo", "-t", "1", "-n", "3", "--temp", "0", "--raw", "-p", "Once"}).out);
  EXPECT_EQ(std::count(llama.err.begin(), llama.err.end(), '\n'), 5) << llama.err;
  const Outcome vllm = quire({"serve",
                              "demo",
                              "--check",
                              "--port",
                              "0",
                              "--dtype",
                              "auto",
                              "--gpu-memory-utilization",
                              "0.9",
                              "--max-model-len",
                              "128",
                              "--max-num-seqs",
                              "2",
                              "--trust-remote-code",
                              "--enforce-eager",
                              "--seed",
                              "7",
                              "--served-model-name",
                              "tiny",
                              "--swap-space",
                              "0.001",
                              "-tp",
                              "1",
                              "--disable-log-requests"});
  EXPECT_EQ(std::count(vllm.err.begin(), vllm.err.end(), '\n'), 5) << vllm.err;
}

std::string refusal(const Arguments& arguments) {
  return run_program({.arguments = arguments, .directory = {}, .input = {}, .environment = {}}).err;
}

TEST(Config, HoldsTheTableOfAFlagThatTakesJson) {
  const TemporaryFolder folder;
  const std::string file = folder.path() / "quire.yaml";
  const std::string words = "model: demo\nprompt: Once upon\nmax-tokens: 4\ntemperature: 0\nraw: true\nthreads: 1\n";
  write_bytes(file, words + "speculative-config:\n  method: ngram\n  num_speculative_tokens: 3\n");
  EXPECT_EQ(quire({"run", "--config", file}).out,
            quire({"run", "demo", "-p", "Once upon", "-n", "4", "--temp", "0", "--raw"}).out);
  write_bytes(file, words + "speculative-config:\n  method: 3\n");
  EXPECT_NE(refusal({"run", "--config", file}).find("method is 3; expected a string"), std::string::npos);
  write_bytes(file, words + "seed:\n  from: 3\n");
  EXPECT_NE(refusal({"run", "--config", file}).find("quire.yaml:7: seed is not a table"), std::string::npos);
}

TEST(Config, GivesTheFlagsOfACommand) {
  const TemporaryFolder folder;
  const std::string file = folder.path() / "quire.yaml";
  write_bytes(file, "model: demo\nprompt: Once upon\nmax-tokens: 4\ntemperature: 0\nraw: true\nthreads: 1\n");
  const std::string expected = quire({"run", "demo", "-p", "Once upon", "-n", "4", "--temp", "0", "--raw"}).out;
  EXPECT_EQ(quire({"run", "--config", file}).out, expected);
  EXPECT_EQ(quire({"--config", file, "run"}).out, expected);
  EXPECT_EQ(quire({"run"}, "", {"QUIRE_CONFIG=" + file}).out, expected);
  EXPECT_NE(quire({"run", "--config", file, "-n", "8"}).out, expected);
}

TEST(ChatTemplate, ReplacesTheModels) {
  const TemporaryFolder folder;
  const std::string file = folder.path() / "t.jinja";
  const std::string source = "{{ messages[0].content }} upon";
  write_bytes(file, source);
  const auto with = [](const Arguments& more) {
    Arguments arguments = {"run", "-t", "1", "-n", "8", "--temp", "0", "--ignore-eos", "demo"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return quire(arguments).out;
  };
  const std::string in_template = with({"-p", "Once"});
  const std::string from_file = with({"-p", "Once", "--chat-template", file});
  EXPECT_NE(from_file, in_template);
  EXPECT_EQ(with({"-p", "Once", "--chat-template", source}), from_file);
  EXPECT_EQ(with({"-p", "Once", "--chat-template-file", file}), from_file);
}

}  // namespace
}  // namespace quire::test
