// What the program says about itself, all from the table of its commands.
#pragma once

#include <string>

#include "apps/flags/command.h"

namespace quire {

// --help of one command, wrapped to `width` columns.
std::string help_text(const Command& command, int width);
// To standard output, wrapped at the terminal's width or 100 columns.
void print_help(const Command& command);
void print_help_of_all(const Command& program);

std::string man_page(const Command& program);        // roff, section 1
std::string flags_markdown(const Command& program);  // docs/flags.md

// Scripts that complete commands, flags, and values that can be listed.
std::string bash_completion(const Command& program);
std::string zsh_completion(const Command& program);
std::string fish_completion(const Command& program);

}  // namespace quire
