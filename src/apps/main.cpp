// The program: a list of commands and one boundary for errors.

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "apps/command.h"
#include "apps/options.h"
#include "base/error.h"
#include "base/log.h"

namespace {

// Documented in the man page: 0 done, 1 could not be done, 2 wrong usage.
constexpr int kFailure = 1;
constexpr int kUsage = 2;

std::string usage_message(const CLI::App& program, const CLI::ParseError& error) {
  const std::vector<CLI::App*> chosen = program.get_subcommands();
  if (!chosen.empty()) {
    const bool is_conversion = dynamic_cast<const CLI::ConversionError*>(&error) != nullptr;
    return fmt::format("{}{}\nSee 'quire {} --help'.", quire::printable(error.what(), 500),
                       is_conversion ? " (expected a number)" : "", chosen.front()->get_name());
  }
  std::string commands;
  for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; })) {
    commands += (commands.empty() ? "" : ", ") + command->get_name();
  }
  const std::vector<std::string> words = program.remaining();
  const std::string found =
      words.empty() ? "no command is given" : fmt::format("'{}' is no command", quire::printable(words.front(), 40));
  return fmt::format("{}; commands are {}\nSee 'quire --help'.", found, commands);
}

// What was printed may still be on its way, and the disk may be full.
int finish_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  fmt::print(stderr, "quire: the output could not be written: {}\n", std::strerror(errno));
  return kFailure;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App program("Quire: runs large language models, from the checkpoint to the screen.", "quire");
  program.require_subcommand(1);
  program.set_version_flag("--version", "quire " QUIRE_VERSION);
  program.set_help_all_flag("--help-all", "Help of every command");
  program.option_defaults()->always_capture_default(false);
  program.get_formatter()->column_width(44);
  std::string log_level = "warning";
  quire::with_environment(program.add_option("--log-level", log_level, "debug, info, warning (default), error or off"));
  program.parse_complete_callback([&] { quire::log::set_level(quire::log::parse_level(log_level)); });

  quire::add_run_command(program);
  quire::add_serve_command(program);
  quire::add_info_command(program);
  quire::add_plan_command(program);
  quire::add_tokenize_command(program);
  quire::add_detokenize_command(program);
  quire::add_logits_command(program);
  quire::add_perplexity_command(program);
  quire::add_bench_command(program);
  quire::add_tune_command(program);
  quire::add_simulate_command(program);
  quire::add_man_command(program);
  quire::add_completion_command(program);

  try {
    program.parse(argc, argv);
    return finish_output();
  } catch (const CLI::Success& request) {  // --help, --version
    return program.exit(request);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "quire: {}\n", usage_message(program, error));
    return kUsage;
  } catch (const quire::Error& error) {
    std::fflush(stdout);
    fmt::print(stderr, "quire: {}\n", error.what());
    return error.code() == quire::ErrorCode::kInvalidArgument ? kUsage : kFailure;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "quire: out of memory; 'quire plan MODEL' tells what a model takes\n");
    return kFailure;
  } catch (const std::exception& error) {
    fmt::print(stderr, "quire: unexpected error: {}\n", error.what());
    return kFailure;
  }
}
