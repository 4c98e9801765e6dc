#include "models/loading/weights_wanted.h"

namespace quire {
namespace {

Format with_smaller_blocks(Format format) {
  switch (format) {
    case Format::kQ2_K:
    case Format::kQ3_K: return Format::kQ4_0;
    case Format::kQ4_K: return Format::kQ5_0;
    case Format::kQ5_K: return Format::kQ5_1;
    case Format::kQ6_K: return Format::kQ8_0;
    case Format::kIQ4_XS: return Format::kIQ4_NL;
    default: return Format::kF16;
  }
}

}  // namespace

Format format_that_divides(Format format, int64_t cols) {
  while (cols % weight_format(format).block_elements != 0) format = with_smaller_blocks(format);
  return format;
}

}  // namespace quire
