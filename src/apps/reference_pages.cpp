// `quire man` and `quire completion`: the manual page and the shells' completions, written from the same option table
// that parses the command line.

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "apps/command.h"
#include "base/error.h"

namespace quire {
namespace {

std::string roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '-' || c == '\\') out += '\\';
    out += c;
  }
  if (out.starts_with('.') || out.starts_with('\'')) out = "\\&" + out;
  return out;
}

std::vector<const CLI::Option*> options_of(const CLI::App& app) {
  std::vector<const CLI::Option*> options;
  for (const CLI::Option* option : app.get_options()) options.push_back(option);
  return options;
}

std::vector<const CLI::App*> commands_of(const CLI::App& program) {
  std::vector<const CLI::App*> commands;
  for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; }))
    commands.push_back(command);
  return commands;
}

void print_man_options(const CLI::App& app) {
  for (const CLI::Option* option : options_of(app)) {
    const bool is_help = option == app.get_help_ptr() || option == app.get_help_all_ptr();
    if (is_help && app.get_parent() != nullptr) continue;  // told once, for the program
    const bool takes_value =
        option->get_expected_max() > 0 && option->get_type_size() > 0 && !option->get_type_name().empty();
    fmt::print(".TP\n.B {}{}\n{}", roff(option->get_name(true, true)),
               takes_value ? " " + roff(option->get_type_name()) : "", roff(option->get_description()));
    if (!option->get_envname().empty()) fmt::print(" (environment: {})", roff(option->get_envname()));
    fmt::print("\n");
  }
}

void print_man(const CLI::App& program) {
  fmt::print(".TH QUIRE 1 \"\" \"quire {}\" \"User Commands\"\n", QUIRE_VERSION);
  fmt::print(".ad l\n");  // flags with their names do not break, so a line cannot be stretched to the margin
  fmt::print(".SH NAME\nquire \\- runs large language models, from the checkpoint to the screen\n");
  fmt::print(".SH SYNOPSIS\n.B quire\n.I COMMAND\n[\n.I options\n]\n");
  fmt::print(
      ".SH DESCRIPTION\nQuire runs a language model from a Hugging Face directory or a GGUF file, without "
      "converting it. 'quire run demo' talks to a very small model that is part of the program.\n");
  fmt::print(".SH OPTIONS\n");
  print_man_options(program);
  for (const CLI::App* command : commands_of(program)) {
    fmt::print(".SH COMMAND: {}\n{}.\n", roff(command->get_name()), roff(command->get_description()));
    print_man_options(*command);
    for (const CLI::App* nested : commands_of(*command)) {
      fmt::print(".SH COMMAND: {} {}\n{}.\n", roff(command->get_name()), roff(nested->get_name()),
                 roff(nested->get_description()));
      print_man_options(*nested);
    }
  }
  fmt::print(
      ".SH ENVIRONMENT\nEvery option that names a variable can be set by it; the command line wins. "
      "QUIRE_ISA chooses the kernel table.\n");
  fmt::print(
      ".SH EXIT STATUS\n0: done. 1: it could not be done; the message says what was found, what was expected and "
      "what to do. 2: wrong usage.\n");
  fmt::print(
      ".SH EXAMPLES\n.nf\nquire run demo\nquire run model.gguf -p \"Why is the sky blue?\" --stats\n"
      "quire plan model.gguf --ctx-size 32K --sequences 8\n.fi\n");
}

std::string own_long_names(const CLI::App& app) {
  std::string words;
  for (const CLI::Option* option : options_of(app)) {
    for (const std::string& name : option->get_lnames()) words += (words.empty() ? "--" : " --") + name;
  }
  return words;
}

// With the sub-commands and theirs.
std::string long_names(const CLI::App& app) {
  std::string words = own_long_names(app);
  for (const CLI::App* nested : commands_of(app)) words += " " + nested->get_name() + " " + long_names(*nested);
  return words;
}

std::string command_names(const CLI::App& program) {
  std::string words;
  for (const CLI::App* command : commands_of(program)) words += (words.empty() ? "" : " ") + command->get_name();
  return words;
}

void print_bash(const CLI::App& program) {
  fmt::print(
      "_quire() {{\n  local current=\"${{COMP_WORDS[COMP_CWORD]}}\" words\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W \"{} {}\" -- \"$current\"))\n    return\n  fi\n"
      "  case \"${{COMP_WORDS[1]}}\" in\n",
      command_names(program), own_long_names(program));
  for (const CLI::App* command : commands_of(program)) {
    fmt::print("    {}) words=\"{}\" ;;\n", command->get_name(), long_names(*command));
  }
  fmt::print(
      "  esac\n  if [[ \"$current\" == -* ]]; then COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "  else COMPREPLY=($(compgen -f -- \"$current\")); fi\n}}\n"
      "complete -o filenames -F _quire quire\n");
}

void print_zsh(const CLI::App& program) {
  fmt::print("#compdef quire\n_quire() {{\n  local -a words\n  if (( CURRENT == 2 )); then\n    words=(\n");
  for (const CLI::App* command : commands_of(program)) {
    fmt::print("      '{}:{}'\n", command->get_name(), command->get_description());
  }
  fmt::print("    )\n    _describe command words\n    return\n  fi\n  case $words[2] in\n");
  for (const CLI::App* command : commands_of(program)) {
    fmt::print("    {}) words=({}) ;;\n", command->get_name(), long_names(*command));
  }
  fmt::print("  esac\n  if [[ $PREFIX == -* ]]; then compadd -- $words; else _files; fi\n}}\n_quire \"$@\"\n");
}

void print_fish(const CLI::App& program) {
  for (const CLI::App* command : commands_of(program)) {
    fmt::print("complete -c quire -n __fish_use_subcommand -a {} -d '{}'\n", command->get_name(),
               command->get_description());
    for (const CLI::Option* option : options_of(*command)) {
      for (const std::string& name : option->get_lnames()) {
        fmt::print("complete -c quire -n '__fish_seen_subcommand_from {}' -l {} -d \"{}\"\n", command->get_name(), name,
                   option->get_description());
      }
    }
  }
}

}  // namespace

void add_man_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("man", "Print the manual page (pipe it to 'man -l -')");
  command->callback([&program] { print_man(program); });
}

void add_completion_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("completion", "Print the completion script of a shell");
  const auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([&program, shell] {
    if (*shell == "bash") print_bash(program);
    if (*shell == "zsh") print_zsh(program);
    if (*shell == "fish") print_fish(program);
  });
}

}  // namespace quire
