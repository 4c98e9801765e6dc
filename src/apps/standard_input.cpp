#include "apps/standard_input.h"

#include <cstdio>

#include "base/error.h"

namespace quire {

std::string standard_input() {
  std::string text;
  char buffer[1 << 16];
  while (const size_t count = std::fread(buffer, 1, sizeof buffer, stdin)) {
    text.append(buffer, count);
    if (text.size() > kMaxPromptBytes) {
      fail(ErrorCode::kLimit, "standard input has more than {} bytes, the most that a prompt may have",
           kMaxPromptBytes);
    }
  }
  return text;
}

}  // namespace quire
