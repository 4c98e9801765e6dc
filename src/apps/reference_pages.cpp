// `quire help`, `version`, `man` and `completion`: what the program says about itself, from the table that parses the
// command line.

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>

#include "apps/commands.h"
#include "apps/flags/command.h"
#include "apps/flags/help.h"
#include "apps/flags/values.h"

namespace quire {

void add_help_command(Command& program) {
  Command& command = program.add_command("help", "Print the help of a command");
  struct Options {
    std::optional<std::string> name, nested;
  };
  const auto options = std::make_shared<Options>();
  command.add({{.names = "COMMAND", .value = text(options->name), .help = "The command (default: a list of all)"},
               {.names = "SUBCOMMAND", .value = text(options->nested), .help = "One of its own commands"}});
  command.on_run([&program, options] {
    const Command* wanted = &program;
    for (const std::optional<std::string>& name : {options->name, options->nested}) {
      if (!name) continue;
      const Command* const found = wanted->find_command(*name);
      if (found == nullptr) fail_unknown_command(*wanted, *name);
      wanted = found;
    }
    print_help(*wanted);
  });
}

void add_version_command(Command& program) {
  program.add_command("version", "Print the version").on_run([] { fmt::print("quire {}\n", QUIRE_VERSION); });
}

void add_man_command(Command& program) {
  Command& command = program.add_command("man", "Print the manual page (pipe it to 'man -l -')");
  const auto is_markdown = std::make_shared<bool>(false);
  command.add({{.names = "--markdown", .value = on_off(*is_markdown), .help = "Print the tables of docs/flags.md"}});
  command.on_run(
      [&program, is_markdown] { fmt::print("{}", *is_markdown ? flags_markdown(program) : man_page(program)); });
}

void add_completion_command(Command& program) {
  Command& command = program.add_command("completion", "Print the completion script of a shell");
  const auto shell = std::make_shared<std::string>();
  command.add({{.names = "SHELL",
                .value = choice(*shell, {"bash", "zsh", "fish"}),
                .help = "bash, zsh or fish",
                .is_required = true}});
  command.on_run([&program, shell] {
    if (*shell == "bash") fmt::print("{}", bash_completion(program));
    if (*shell == "zsh") fmt::print("{}", zsh_completion(program));
    if (*shell == "fish") fmt::print("{}", fish_completion(program));
  });
}

}  // namespace quire
