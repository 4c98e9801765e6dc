#pragma once

#include <cstddef>

namespace quire {

// The bytes [begin, end) of a text.
struct TextSpan {
  size_t begin, end;
  bool operator==(const TextSpan&) const = default;
};

}  // namespace quire
