// Standard input as one text.
#pragma once

#include <cstddef>
#include <string>

namespace quire {

// Of a prompt, wherever it comes from.
constexpr size_t kMaxPromptBytes = size_t{64} << 20;

// All of it. Throws Error kLimit above kMaxPromptBytes.
std::string standard_input();

}  // namespace quire
