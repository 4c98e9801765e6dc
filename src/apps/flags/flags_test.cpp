// The table of flags: what words become, and what users are told when words are wrong.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "apps/flags/command.h"
#include "apps/flags/help.h"
#include "apps/flags/values.h"
#include "base/error.h"

namespace quire {
namespace {

struct Values {
  int threads = 4;
  uint16_t port = 8080;
  float top_p = 0.95f;
  bool caching = true;
  bool json = false;
  std::optional<std::string> prompt;
  std::vector<std::string> stops;
  std::vector<std::string> names;
  std::vector<int64_t> depths = {512};
  std::vector<double> costs;
  std::string shell;
  std::string model;
  std::optional<uint64_t> memory;
  std::optional<uint64_t> context;
  std::string config;
  std::string log_level;
  std::string ran;
};

constexpr PeerFlag kPeers[] = {
    {"-p,--prompt", "llama.cpp", PeerMeaning::kSame, "TEXT", "--prompt"},
    {"-ngl,--gpu-layers", "llama.cpp", PeerMeaning::kNoEffect, "N", "there are none"},
    {"-fa", "llama.cpp", PeerMeaning::kNoEffect, "[on|off]", "always on"},
    {"-hf,--hf-repo", "llama.cpp", PeerMeaning::kRefused, "REPO", "download it"},
};

class FlagsTest : public testing::Test {
 protected:
  FlagsTest() {
    program_.add({{.names = "--log-level", .value = text(v_.log_level), .help = "The level"},
                  {.names = "--config", .value = text(v_.config, "FILE"), .help = "A file"}});
    program_.know_peers(kPeers);
    Command& serve = program_.add_command("serve", "Serves");
    serve.add({{.names = "MODEL,-m,--model",
                .value = text(v_.model, "MODEL"),
                .help = "The model",
                .example = "demo",
                .is_required = true},
               {.names = "PROMPT,-p,--prompt", .value = text(v_.prompt), .help = "The prompt"},
               {.names = "--depth,--n-depth", .value = numbers(v_.depths, 0, 1024), .help = "Depths"},
               {.names = "--stop", .value = texts(v_.stops), .help = "Stops"},
               {.names = "--name", .value = texts_in_a_row(v_.names), .help = "Names"},
               {.names = "--cost", .value = reals(v_.costs, 3), .help = "Costs"},
               {.names = "--json", .value = on_off(v_.json), .help = "Prints JSON", .excludes = "--prompt"},
               {.names = "--shell", .value = choice(v_.shell, {"bash", "fish"}), .help = "The shell"}});
    serve.add({.title = "Tuning", .has_environment = true},
              {{.names = "-t,--test-threads,--workers",
                .value = number(v_.threads, 1, 64),
                .help = "Threads that compute and that may be many more than one line of this text can say"},
               {.names = "--port", .value = number(v_.port), .help = "Port"},
               {.names = "--top-p", .value = real(v_.top_p), .help = "Mass"},
               {.names = "--memory", .value = gibibytes(v_.memory, 1), .help = "Memory", .default_text = "all"},
               {.names = "--context,-ctx", .value = quantity(v_.context, "N"), .help = "Positions"},
               {.names = "--caching,!--no-caching", .value = on_off(v_.caching), .help = "Keep blocks"}});
    serve.on_run([this] { v_.ran = "serve"; });
    Command& bench = program_.add_command("bench", "Measures");
    bench.on_run([this] { v_.ran = "bench"; });
    bench.add_command("kernel", "Measures kernels").on_run([this] { v_.ran = "kernel"; });
  }
  // What the user is told about these words; empty when they are right.
  std::string message(const std::vector<std::string>& words) {
    try {
      program_.run(words);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return error.what();
    }
    return "";
  }

  Values v_;
  Command program_{"quire", "Runs models"};
};

TEST_F(FlagsTest, StoresWhatWordsSay) {
  program_.run({"serve",  "demo",    "-t8",  "--port=0", "--top-p",  "0.5",   "--no-caching", "--stop",
                "a",      "--depth", "0,64", "--stop",   "b",        "hello", "--n-depth",    "7",
                "--cost", "1",       "-2",   "0.5",      "--memory", "4",     "-ctx",         "4K"});
  EXPECT_EQ(v_.ran, "serve");
  EXPECT_EQ(v_.model, "demo");
  EXPECT_EQ(v_.prompt, "hello");
  EXPECT_EQ(v_.threads, 8);
  EXPECT_EQ(v_.port, 0);
  EXPECT_EQ(v_.top_p, 0.5f);
  EXPECT_FALSE(v_.caching);
  EXPECT_EQ(v_.stops, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(v_.depths, (std::vector<int64_t>{0, 64, 7}));
  EXPECT_EQ(v_.costs, (std::vector<double>{1, -2, 0.5}));
  EXPECT_EQ(v_.memory, uint64_t{4} << 30);
  EXPECT_EQ(v_.context, 4096u);
  program_.run({"serve", "hi there", "--memory=0.5MiB", "-m", "other", "-t3"});
  EXPECT_EQ(v_.memory, uint64_t{1} << 19);
  EXPECT_EQ(v_.model, "other");
  EXPECT_EQ(v_.prompt, "hi there");
  EXPECT_EQ(v_.threads, 3);
}

TEST_F(FlagsTest, WordsBehindAFlagOfManyAreItsOwn) {
  const auto names = [&](const std::vector<std::string>& words) {
    program_.run(words);
    return v_.names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names({"serve", "demo", "hello", "--name", "a", "b", "c"}), (Names{"a", "b", "c"}));
  EXPECT_EQ(names({"serve", "-m", "demo", "-p", "hello", "--name", "a", "b", "--port", "9", "--name", "c"}),
            (Names{"a", "b", "c"}));
  EXPECT_EQ(names({"serve", "--name", "a", "demo"}), Names{"a"}) << "a word that MODEL waits for";
  EXPECT_EQ(v_.model, "demo");
  EXPECT_EQ(message({"serve", "demo", "hello", "--name", "a", "--port", "9", "b"}),
            "'b' is not expected here\nSee 'quire serve --help'.");
  EXPECT_EQ(message({"serve", "demo", "hello", "--stop", "a", "b"}),
            "'b' is not expected here\nSee 'quire serve --help'.");
}

TEST_F(FlagsTest, AFlagOfAPeerWithoutItsValueLeavesTheNextFlag) {
  program_.run({"serve", "demo", "-ngl", "--port", "9"});
  EXPECT_EQ(v_.port, 9);
  program_.run({"serve", "demo", "-ngl", "-1", "-t3"});
  EXPECT_EQ(v_.threads, 3);
}

TEST_F(FlagsTest, FindsNestedCommands) {
  program_.run({"bench", "kernel"});
  EXPECT_EQ(v_.ran, "kernel");
  program_.run({"bench"});
  EXPECT_EQ(v_.ran, "bench");
}

TEST_F(FlagsTest, TheCommandLineWinsOverTheEnvironment) {
  ::setenv("QUIRE_TEST_THREADS", "3", 1);
  program_.run({"serve", "demo"});
  EXPECT_EQ(v_.threads, 3);
  EXPECT_TRUE(program_.find_command("serve")->was_given("--workers"));
  program_.run({"serve", "demo", "--workers", "5"});
  EXPECT_EQ(v_.threads, 5);
  ::setenv("QUIRE_TEST_THREADS", "many", 1);
  EXPECT_EQ(message({"serve", "demo"}),
            "QUIRE_TEST_THREADS is 'many'; expected a whole number from 1 to 64\nSee 'quire serve --help'.");
  ::unsetenv("QUIRE_TEST_THREADS");
}

TEST_F(FlagsTest, MessagesNameTheFlagThatWasTyped) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"serve", "demo", "--workers", "0"}, "--workers is '0'; expected a whole number from 1 to 64"},
      {{"serve", "demo", "-t", "0"}, "-t is '0'; expected a whole number from 1 to 64"},
      {{"serve", "demo", "--port", "80800"}, "--port is '80800'; expected a whole number from 0 to 65535"},
      {{"serve", "demo", "--port", "80x"}, "--port is '80x'; expected a whole number from 0 to 65535"},
      {{"serve", "demo", "--top-p", "inf"}, "--top-p is 'inf'; expected a number"},
      {{"serve", "demo", "--shell", "tcsh"}, "--shell is 'tcsh'; expected bash or fish"},
      {{"serve", "demo", "--n-depth", "1,,2"},
       "--n-depth is '1,,2'; expected whole numbers from 0 to 1024 with commas between"},
      {{"serve", "demo", "--cost", "1", "2"}, "--cost needs 3 values, found 2"},
      {{"serve", "demo", "--cost", "1", "2", "3", "--cost", "1", "2", "3"}, "--cost is given twice; give it once"},
      {{"serve", "demo", "-t", "3", "--workers", "4"}, "-t and --workers are the same; give one of them"},
      {{"serve", "demo", "--json=maybe"}, "--json is 'maybe'; expected on or off"},
      {{"serve", "demo", "--port"}, "--port needs a value"},
      {{"serve", "demo", "-p", "x", "--json"}, "-p and --json exclude each other; give one of them"},
      {{"serve", "demo", "--port", "--json"}, "--port needs a value"},
      {{"serve", "demo", "--memory", "much"},
       "--memory is 'much'; expected a size such as 8GiB, 500MB or 4, which is 4GiB"},
      {{"serve", "demo", "--memory", "8000000000"},
       "--memory is '8000000000'; expected a size such as 8GiB, 500MB or 4, which is 4GiB"},
      {{"serve", "--port", "1"}, "MODEL is required, for example 'quire serve demo'"}};
  for (const auto& [words, expected] : cases) EXPECT_EQ(message(words), expected + "\nSee 'quire serve --help'.");
}

TEST_F(FlagsTest, UnknownWordsAreListedAsTheyWereTyped) {
  EXPECT_EQ(message({"serve", "demo", "--prot", "9000", "--xyzzy=1"}),
            "unknown flags --prot (did you mean --port?), --xyzzy\nSee 'quire serve --help'.");
  EXPECT_EQ(message({"serve", "demo", "a", "b", "c"}), "'b', 'c' are not expected here\nSee 'quire serve --help'.");
  EXPECT_EQ(message({"serv"}),
            "unknown command 'serv' (did you mean 'serve'?); commands are serve, bench\nSee 'quire --help'.");
  EXPECT_EQ(message({"serve", "demo", "--log-level", "debug"}),
            "");  // the program's own flags may stand anywhere
  EXPECT_EQ(v_.log_level, "debug");
  EXPECT_EQ(message({"bench", "kernel", "--prompt", "x"}),
            "unknown flag --prompt (a flag of 'quire serve')\nSee 'quire bench kernel --help'.");
  EXPECT_EQ(message({}), "no command is given; commands are serve, bench\nSee 'quire --help'.");
  EXPECT_EQ(message({"serve", "-hf", "org/name"}), "-hf: download it\nSee 'quire serve --help'.");
  EXPECT_EQ(message({"bench", "-hf", "org/name"}), "unknown flag -hf\nSee 'quire bench --help'.");
}

TEST_F(FlagsTest, OddWordsAreRefusedOrTaken) {
  for (const std::string odd : {"", "-", "--", "---", "--=", "-=", "=", "-1", "-t=", "--port=", "--json=", "-t",
                                "[a,b]", "%s{}", "\x01\xff", "--no-caching=false", "--caching=false"}) {
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{odd}, {"serve", odd}, {"serve", odd, "demo"}, {"serve", "demo", "-p", odd}}) {
      const std::string found = message(words);
      EXPECT_EQ(found.find('\x01'), std::string::npos);
    }
  }
  EXPECT_EQ(message({"serve", "demo", "-p", "[a,b]", "--no-caching=false"}), "");
  EXPECT_EQ(v_.prompt, "[a,b]");
  EXPECT_TRUE(v_.caching);
  EXPECT_EQ(message({"serve", "demo", "--", "--port"}), "");
  EXPECT_EQ(v_.prompt, "--port");
}

TEST_F(FlagsTest, FlagsOfOtherProgramsAreAnswered) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(message({"serve", "demo", "-ngl", "99", "-fa", "on", "-fa", "--port", "7"}), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "quire: -ngl has no effect: there are none\nquire: -fa has no effect: always on\n"
            "quire: -fa has no effect: always on\n");
  EXPECT_EQ(v_.port, 7);
  EXPECT_EQ(v_.prompt, std::nullopt);
  testing::internal::CaptureStderr();
  EXPECT_EQ(message({"serve", "-fa", "demo", "--gpu-layers=3"}), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "quire: -fa has no effect: always on\nquire: --gpu-layers has no effect: there are none\n");
  EXPECT_EQ(v_.model, "demo");
  EXPECT_EQ(message({"serve", "--hf-repo=a/b"}), "--hf-repo: download it\nSee 'quire serve --help'.");
  testing::internal::CaptureStderr();
  EXPECT_EQ(message({"serve", "demo", "-ngl99"}), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "quire: -ngl has no effect: there are none\n");
  EXPECT_EQ(message({"serve", "demo", "--gpu-layers3"}), "unknown flag --gpu-layers3\nSee 'quire serve --help'.");
}

TEST_F(FlagsTest, AFileGivesWhatNobodyTyped) {
  const std::string file = testing::TempDir() + "quire_flags_test.yaml";
  const auto with = [&](const std::string& lines, std::vector<std::string> words) {
    std::ofstream(file) << lines;
    words.insert(words.end(), {"--config", file});
    return message(words);
  };
  ::setenv("QUIRE_PORT", "5", 1);
  EXPECT_EQ(with("model: demo\nport: 4\ntest_threads: 3\nlog-level: info\nstop: [a, b]\nno-caching: true\n"
                 "cost: [1, 2, 3]\ntop-p: 0.5",
                 {"serve", "--top-p", "0.25"}),
            "");
  ::unsetenv("QUIRE_PORT");
  EXPECT_EQ(v_.model, "demo");
  EXPECT_EQ(v_.port, 5);
  EXPECT_EQ(v_.threads, 3);
  EXPECT_EQ(v_.log_level, "info");
  EXPECT_EQ(v_.stops, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(v_.costs, (std::vector<double>{1, 2, 3}));
  EXPECT_FALSE(v_.caching);
  EXPECT_EQ(v_.top_p, 0.25f);
  const std::string see = "\nSee 'quire serve --help'.";
  EXPECT_EQ(with("\nport: 80800", {"serve", "demo"}),
            file + ":2: port is '80800'; expected a whole number from 0 to 65535" + see);
  EXPECT_EQ(with("prot: 1", {"serve", "demo"}),
            file + ":1: prot is not a flag of this command (did you mean --port?)" + see);
  EXPECT_EQ(with("port:", {"serve", "demo"}), file + ":1: port needs a value" + see);
  EXPECT_EQ(with("port: 1\nport: 2", {"serve", "demo"}),
            file + ":1: port and " + file + ":2: port are the same; give one of them" + see);
  EXPECT_EQ(with("hf-repo: a/b", {"serve", "demo"}), file + ":1: hf-repo: download it" + see);
  EXPECT_EQ(with("config: a.yaml", {"serve", "demo"}), file + ":1: config belongs on the command line" + see);
}

TEST_F(FlagsTest, HelpIsWrappedAndTellsDefaults) {
  const Command& serve = *program_.find_command("serve");
  for (const int width : {50, 100}) {
    const std::string help = help_text(serve, width);
    size_t begin = 0;
    for (size_t end = help.find('\n'); end != std::string::npos; begin = end + 1, end = help.find('\n', begin)) {
      EXPECT_LE(end - begin, static_cast<size_t>(width)) << help.substr(begin, end - begin);
      EXPECT_FALSE(end > begin && help[end - 1] == ' ') << help.substr(begin, end - begin);
    }
  }
  const std::string help = help_text(serve, 100);
  for (const char* part : {"quire serve MODEL [PROMPT] [FLAGS]", "MODEL, -m, --model MODEL", "Tuning:\n",
                           "-t, --test-threads, --workers N", "(default: 4)", "[QUIRE_TEST_THREADS]", "(default: all)",
                           "--caching, --no-caching", "(default: on)", "(default: 0.95)"}) {
    EXPECT_NE(help.find(part), std::string::npos) << part << " in\n" << help;
  }
}

}  // namespace
}  // namespace quire
