// The program: a list of commands and one boundary for errors.

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "apps/commands.h"
#include "apps/flags/command.h"
#include "apps/flags/help.h"
#include "apps/flags/values.h"
#include "apps/peer_flags.h"
#include "base/error.h"
#include "base/log.h"

namespace {

// The manual page documents them; 0 is success.
constexpr int kFailure = 1;
constexpr int kUsage = 2;

// What was printed may still be in a buffer, and the disk may be full.
int finish_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  fmt::print(stderr, "quire: the output could not be written: {}\n", std::strerror(errno));
  return kFailure;
}

}  // namespace

int main(int argc, char** argv) {
  quire::Command program("quire", "Runs and serves large language models; to try it: quire run demo");
  std::string log_level = "warning";
  std::string config_file;  // read by the table itself
  quire::FlagValue level = quire::text(log_level, "LEVEL");
  level.parse = [](std::string_view text) {
    quire::log::set_level(quire::log::parse_level(text));
    return true;
  };
  program.add({{.names = "-V,--version",
                .value = quire::instead([] { fmt::print("quire {}\n", QUIRE_VERSION); }),
                .help = "Print the version"},
               {.names = "--help-all",
                .value = quire::instead([&program] { quire::print_help_of_all(program); }),
                .help = "Print the help of every command"}});
  program.add({.has_environment = true},
              {{.names = "--log-level", .value = level, .help = "debug, info, warning, error or off"},
               {.names = "--config",
                .value = quire::text(config_file, "FILE"),
                .help = "Read flags from a file of lines 'flag: value'; the command line and the environment win"}});
  program.know_peers(quire::peer_flags());

  quire::add_run_command(program);
  quire::add_serve_command(program);
  quire::add_info_command(program);
  quire::add_inspect_command(program);
  quire::add_plan_command(program);
  quire::add_tokenize_command(program);
  quire::add_detokenize_command(program);
  quire::add_logits_command(program);
  quire::add_perplexity_command(program);
  quire::add_compress_command(program);
  quire::add_bench_command(program);
  quire::add_tune_command(program);
  quire::add_cache_command(program);
  quire::add_convert_command(program);
  quire::add_simulate_command(program);
  quire::add_man_command(program);
  quire::add_completion_command(program);
  quire::add_version_command(program);
  quire::add_help_command(program);

  try {
    program.run({argv + 1, argv + std::max(argc, 1)});
    return finish_output();
  } catch (const quire::Error& error) {
    std::fflush(stdout);
    fmt::print(stderr, "quire: {}\n", error.what());
    return error.code() == quire::ErrorCode::kInvalidArgument ? kUsage : kFailure;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "quire: out of memory; 'quire plan MODEL' shows how much a model needs\n");
    return kFailure;
  } catch (const std::exception& error) {
    fmt::print(stderr, "quire: unexpected error: {}\n", error.what());
    return kFailure;
  }
}
