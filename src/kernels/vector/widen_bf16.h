// Widens columns of panels to pairs of bf16. math.h says how the files of this folder are used.
#pragma once

#include "isa/bf16.h"
#include "kernels/vector/widen.h"

namespace quire {
namespace {

struct Bf16Out {
  std::byte* to;  // [columns / 2][kPanelVectors] vectors of pairs

  void put(int column, int v, Vec even, Vec odd) const {
    store_bytes(to + (column / 2 * kPanelVectors + v) * kVectorBytes, bf16_pairs(even, odd));
  }
};

// For every format that is multiplied by bf16 (is_multiplied_packed).
inline Widen<Bf16Out> widen_to_bf16(Format format) {
  switch (format) {
    case Format::kF16: return widen_floats<Format::kF16, Bf16Out>;
    case Format::kBF16: return widen_floats<Format::kBF16, Bf16Out>;
    case Format::kF8_G128: return widen_floats<Format::kF8_G128, Bf16Out>;
    default: return widen_codes_of<Bf16Out>(format);
  }
}

}  // namespace
}  // namespace quire
