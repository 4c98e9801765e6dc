// The program's documentation: help, version, the manual page, docs/flags.md, the shells' completions.
#include <gtest/gtest.h>

#include <filesystem>
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
  for (const char* command : {"run", "serve", "info", "plan", "tokenize", "detokenize", "logits", "perplexity", "bench",
                              "tune", "simulate", "man", "completion", "version", "help"}) {
    const std::string page = quire({command, "--help"}).out;
    EXPECT_NE(page.find(std::string("Usage: quire ") + command), std::string::npos) << page;
    EXPECT_EQ(quire({"help", command}).out, page);
    EXPECT_NE(all.find(page), std::string::npos) << command;
  }
  EXPECT_EQ(quire({"help", "bench", "kernel"}).out, quire({"bench", "kernel", "-h"}).out);
  EXPECT_EQ(quire({"help"}).out, quire({"--help"}).out);
  EXPECT_NE(quire({"serve", "--help"}).out.find("(default: 8080) [QUIRE_PORT]"), std::string::npos);
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

}  // namespace
}  // namespace quire::test
