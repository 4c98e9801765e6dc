// What the words of a command line and the lines of a configuration file name, before it means anything
// (docs/decisions/0020-own-word-reader.md).
#pragma once

#include <string>
#include <vector>

#include "apps/flags/command.h"

namespace quire {

struct Mention {
  FlagEntry* entry;
  std::string name;   // with dashes, or the positional one
  std::string shown;  // in messages: the name as it was typed, or its place in a file
  std::vector<std::string> texts;
};

struct CommandLine {
  Command* program = nullptr;
  Command* chosen = nullptr;  // the command that the words name
  std::vector<Mention> mentions = {};
  std::vector<std::string> words = {};    // that are no flags, in their order
  std::vector<std::string> unknown = {};  // flags that the chosen command does not have
  std::vector<std::string> notes = {};    // on flags of other programs that change nothing
  bool wants_help = false;
};

// Throws Error for a flag without its value, and for flags of other programs that are refused.
CommandLine read_words(Command& program, const std::vector<std::string>& words);
// Throws Error with "FILE:LINE: " for a key that is no flag of the chosen command; adds to line.notes.
std::vector<Mention> read_config_mentions(CommandLine& line, const std::string& path);

[[noreturn]] void fail_unknown_flags(const Command& command, const std::vector<std::string>& names);

}  // namespace quire
