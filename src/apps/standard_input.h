// Standard input as one text.
#pragma once

#include <cstddef>
#include <string>

namespace quire {

// Most bytes of a prompt from any source.
constexpr size_t kMaxPromptBytes = size_t{64} << 20;

// Reads standard input to its end. Throws Error kLimit above kMaxPromptBytes.
std::string standard_input();

}  // namespace quire
