// The completion scripts. Each lists the commands and, for the command that the words name so far, its sub-commands,
// its flags, and the values of flags that have few; everything else is completed as a file name.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "apps/flags/help.h"

namespace quire {
namespace {

// In single quotes; of bash and zsh, where a quote inside ends the text, is escaped and begins it again.
std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

// Of fish, which knows two escapes between single quotes.
std::string fish_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

// The words behind the program's name that lead to the command: "bench kernel".
std::string words_of(const Command& command) {
  const std::string path = command.path();
  return path.substr(std::min(path.find(' ') + 1, path.size()));
}

template <typename F>
void for_each_command(const Command& command, const F& visit) {
  for (const auto& nested : command.commands()) {
    for_each_command(*nested, visit);
    visit(*nested);
  }
}

std::string command_names(const Command& command) {
  std::vector<std::string> names;
  for (const auto& nested : command.commands()) names.push_back(nested->name());
  return fmt::format("{}", fmt::join(names, " "));
}

std::string flag_names(const Command& command) {
  std::string names = "--help";
  for (const FlagEntry& entry : command.flags()) {
    for (const std::string& name : entry.names) names += name.starts_with("--") ? " " + name : "";
  }
  return names;
}

// Of the command's positional arguments, as a list of words.
std::string choices_of(const Command& command) {
  std::vector<std::string> choices;
  for (const FlagEntry& entry : command.flags()) {
    const std::vector<std::string>& more = entry.flag.value.choices;
    if (!entry.positional.empty()) choices.insert(choices.end(), more.begin(), more.end());
  }
  return fmt::format("{}", fmt::join(choices, " "));
}

// "'bench kernel'*" before "'bench '*": the first pattern that matches counts.
std::string pattern_of(const Command& command) { return quoted(words_of(command) + " ") + "*"; }

}  // namespace

std::string bash_completion(const Command& program) {
  std::string out =
      "_quire() {\n"
      "  local current=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[*]:1:COMP_CWORD-1} \" flags words\n"
      "  case \"$before\" in\n";
  for_each_command(program, [&](const Command& command) {
    out += fmt::format("    {}) flags='{}' words='{}' ;;\n", pattern_of(command), flag_names(command),
                       command.commands().empty() ? choices_of(command) : command_names(command));
  });
  out += fmt::format("    *) flags='{}' words='{}' ;;\n  esac\n", flag_names(program), command_names(program));
  out +=
      "  if [[ \"$current\" == -* ]]; then COMPREPLY=($(compgen -W \"$flags\" -- \"$current\"))\n"
      "  else COMPREPLY=($(compgen -W \"$words\" -- \"$current\") $(compgen -f -- \"$current\")); fi\n"
      "}\n"
      "complete -o filenames -F _quire quire\n";
  return out;
}

std::string zsh_completion(const Command& program) {
  const auto described = [](const std::string& name, const std::string& help) {
    return "      " + quoted(name + ":" + help) + "\n";
  };
  const auto body = [&](const Command& command) {
    std::string out = "      flags=(\n" + described("--help", "Print this help");
    for (const FlagEntry& entry : command.flags()) {
      for (const std::string& name : entry.names) {
        if (name.starts_with("--")) out += described(name, entry.flag.help);
      }
    }
    out += "      )\n      names=(\n";
    for (const auto& nested : command.commands()) out += described(nested->name(), nested->help());
    for (const FlagEntry& entry : command.flags()) {
      if (entry.positional.empty()) continue;
      for (const std::string& choice : entry.flag.value.choices) out += "      " + quoted(choice) + "\n";
    }
    return out + "      )\n";
  };
  std::string out = "#compdef quire\n_quire() {\n  local -a flags names\n  case \"${words[2,CURRENT-1]} \" in\n";
  for_each_command(program, [&](const Command& command) {
    out += fmt::format("    {})\n{}      ;;\n", pattern_of(command), body(command));
  });
  out += fmt::format("    *)\n{}      ;;\n  esac\n", body(program));
  out +=
      "  if [[ $PREFIX == -* ]]; then _describe -o flag flags\n"
      "  else\n"
      "    (( $#names )) && _describe word names\n"
      "    _files\n"
      "  fi\n"
      "}\n"
      // Loaded by its file's name it is the function's first call; sourced it only has to be registered.
      "if [[ \"$funcstack[1]\" == _quire ]]; then _quire \"$@\"; else compdef _quire quire; fi\n";
  return out;
}

std::string fish_completion(const Command& program) {
  // Whether the words so far begin with the command, and with none of its sub-commands.
  std::string out =
      "function __quire_at\n"
      "  set -l words (commandline -opc)\n"
      "  set -l command (string split ' ' -- $argv[1])\n"
      "  set -l here $words[2..(math (count $command) + 1)]\n"
      "  test \"$here\" = \"$argv[1]\"; or return 1\n"
      "  set -l next $words[(math (count $command) + 2)]\n"
      "  not contains -- \"$next\" $argv[2..-1]\n"
      "end\n"
      "function __quire_bare\n"
      "  test (count (commandline -opc)) -eq 1\n"
      "end\n";
  for (const auto& command : program.commands()) {
    out += fmt::format("complete -c quire -f -n __quire_bare -a {} -d {}\n", command->name(),
                       fish_quoted(command->help()));
  }
  const auto add_flags = [&](const Command& command, const std::string& condition) {
    out += fmt::format("complete -c quire -n {} -s h -l help -d 'Print this help'\n", condition);
    for (const FlagEntry& entry : command.flags()) {
      std::string line;
      for (const std::string& name : entry.names) {
        line +=
            name.starts_with("--") ? " -l " + name.substr(2) : (name.size() == 2 ? " -s " : " -o ") + name.substr(1);
      }
      if (line.empty()) continue;
      if (!entry.flag.value.is_switch) line += " -r";
      if (!entry.flag.value.choices.empty()) {
        line += " -f -a " + fish_quoted(fmt::format("{}", fmt::join(entry.flag.value.choices, " ")));
      }
      out += fmt::format("complete -c quire -n {}{} -d {}\n", condition, line, fish_quoted(entry.flag.help));
    }
  };
  add_flags(program, "__quire_bare");
  for_each_command(program, [&](const Command& command) {
    const std::string nested = command_names(command);
    const std::string condition =
        fish_quoted(fmt::format("__quire_at {}{}{}", quoted(words_of(command)), nested.empty() ? "" : " ", nested));
    for (const auto& inner : command.commands()) {
      out +=
          fmt::format("complete -c quire -f -n {} -a {} -d {}\n", condition, inner->name(), fish_quoted(inner->help()));
    }
    const std::string choices = choices_of(command);
    if (!choices.empty()) out += fmt::format("complete -c quire -f -n {} -a {}\n", condition, fish_quoted(choices));
    add_flags(command, condition);
  });
  return out;
}

}  // namespace quire
