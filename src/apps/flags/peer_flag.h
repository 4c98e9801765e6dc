// A flag of another program that people bring along, and what Quire makes of it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace quire {

enum class PeerMeaning : uint8_t {
  kSame,      // the names are in the command's own table
  kNoEffect,  // accepted; one line on standard error says why nothing changes
  kRefused,   // the message says what to use instead
};

struct PeerFlag {
  std::string_view names;    // "-ngl,--gpu-layers"; "--x,--no-x" where both ends of a switch are one row
  std::string_view program;  // whose it is: "llama.cpp", "vLLM", "both"
  PeerMeaning meaning;
  // What stands behind it: empty for nothing, "N" for any word, "[on|off]" for nothing or one of these words.
  std::string_view value;
  std::string_view answer;  // of kSame: Quire's flag; otherwise a sentence without its full stop

  bool has_name(std::string_view name) const;
  // Whether `word`, the one that follows, is this flag's value.
  bool takes(std::string_view word) const;
};

// Its parts, such as the names of a row.
std::vector<std::string_view> parts_of(std::string_view list, char separator);

}  // namespace quire
