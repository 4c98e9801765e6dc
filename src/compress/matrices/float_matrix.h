// A matrix of float weights as the methods read it.
#pragma once

#include <cstdint>
#include <span>

namespace quire {

struct FloatMatrix {
  std::span<const float> values;  // [rows, cols]
  int64_t rows = 0;
  int64_t cols = 0;

  std::span<const float> row(int64_t r) const {
    return values.subspan(static_cast<size_t>(r * cols), static_cast<size_t>(cols));
  }
};

}  // namespace quire
