// Token ids on the command line.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace quire {

// "1,2, 3" or "[1, 2, 3]". Throws Error for anything else and for ids outside [0, vocab_size).
std::vector<int32_t> parse_ids(std::string_view text, int64_t vocab_size);

}  // namespace quire
