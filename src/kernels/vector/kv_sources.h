// How the inner loops of attention load elements of K and V as floats. math.h says how the files of this folder are
// used.
#pragma once

#include "isa/vec.h"
#include "kernels/kernels.h"

namespace quire {
namespace {

struct F32Source {
  using Element = float;
  static Vec load_lanes(const Element* p) { return load(p); }
};
struct F16Source {
  using Element = uint16_t;
  static Vec load_lanes(const Element* p) { return load_f16(p); }
};
struct BF16Source {
  using Element = uint16_t;
  static Vec load_lanes(const Element* p) { return load_bf16(p); }
};
struct E4M3Source {
  using Element = uint8_t;
  static Vec load_lanes(const Element* p) { return load_e4m3(p); }
};

// Returns use(source) for the source of a float format.
template <typename Use>
inline void with_source(Format format, Use use) {
  switch (format) {
    case Format::kF16: return use(F16Source{});
    case Format::kBF16: return use(BF16Source{});
    case Format::kF8_E4M3: return use(E4M3Source{});
    default: return use(F32Source{});
  }
}

}  // namespace
}  // namespace quire
