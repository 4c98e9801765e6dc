#include "kernels/vector/matmul_floats.h"
#include "kernels/vector/parts.h"

namespace quire::QUIRE_TABLE {

MultiplyPanels float_panels(Format format) {
  switch (format) {
    case Format::kF32: return multiply_float_panels<Format::kF32>;
    case Format::kF16: return multiply_float_panels<Format::kF16>;
    case Format::kBF16: return multiply_float_panels<Format::kBF16>;
    case Format::kF8_G128: return multiply_float_panels<Format::kF8_G128>;
    default: return nullptr;
  }
}

}  // namespace quire::QUIRE_TABLE
