#include "tensor/tensor.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace quire {

int64_t TensorView::num_elements() const {
  int64_t count = 1;
  for (const int64_t dimension : dimensions()) count *= dimension;
  return count;
}

std::optional<int64_t> checked_num_elements(std::span<const int64_t> dimensions) {
  int64_t count = 1;
  for (const int64_t dimension : dimensions) {
    if (dimension < 0 || __builtin_mul_overflow(count, dimension, &count)) return std::nullopt;
  }
  return count;
}

std::string shape_text(std::span<const int64_t> dimensions) { return fmt::format("[{}]", fmt::join(dimensions, ", ")); }

void dequantize(const TensorView& view, std::span<float> out) {
  const WeightFormat& format = weight_format(view.format);
  if (!format.is_weight()) {
    fail(ErrorCode::kInvalidArgument, "a {} tensor {} cannot be converted to floats", format.name,
         shape_text(view.dimensions()));
  }
  CHECK(out.size() == static_cast<size_t>(view.num_elements()));
  format.dequantize(view.data, out.data(), view.num_elements());
}

}  // namespace quire
