// F32, F16 and BF16: one element per block, read at any alignment. And what is storage only.
#include <cstring>

#include "tensor/formats/list.h"
#include "tensor/half.h"

namespace quire {
namespace {

void copy_out(const std::byte* blocks, float* out, int64_t num_elements) {
  if (num_elements > 0) std::memcpy(out, blocks, static_cast<size_t>(num_elements) * sizeof(float));
}

void copy_in(const float* in, std::byte* blocks, int64_t num_elements) {
  if (num_elements > 0) std::memcpy(blocks, in, static_cast<size_t>(num_elements) * sizeof(float));
}

template <float (*kConvert)(uint16_t)>
void widen(const std::byte* blocks, float* out, int64_t num_elements) {
  for (int64_t i = 0; i < num_elements; ++i) {
    uint16_t half = 0;
    std::memcpy(&half, blocks + 2 * i, sizeof half);
    out[i] = kConvert(half);
  }
}

template <uint16_t (*kConvert)(float)>
void narrow(const float* in, std::byte* blocks, int64_t num_elements) {
  for (int64_t i = 0; i < num_elements; ++i) {
    const uint16_t half = kConvert(in[i]);
    std::memcpy(blocks + 2 * i, &half, sizeof half);
  }
}

constexpr WeightFormat storage(Format format, const char* name, int bytes) {
  return {.format = format, .name = name, .block_elements = 1, .block_bytes = bytes};
}

}  // namespace

FormatRows plain_formats() {
  static constexpr WeightFormat kRows[] = {
      {Format::kF32, "F32", 1, 4, copy_out, copy_in},
      {Format::kF16, "F16", 1, 2, widen<f16_to_f32>, narrow<f32_to_f16>},
      {Format::kBF16, "BF16", 1, 2, widen<bf16_to_f32>, narrow<f32_to_bf16>},
      storage(Format::kF64, "F64", 8),
      storage(Format::kF8_E4M3, "F8_E4M3", 1),
      storage(Format::kF8_E5M2, "F8_E5M2", 1),
      storage(Format::kF8_E8M0, "F8_E8M0", 1),
      storage(Format::kI8, "I8", 1),
      storage(Format::kI16, "I16", 2),
      storage(Format::kI32, "I32", 4),
      storage(Format::kI64, "I64", 8),
      storage(Format::kU8, "U8", 1),
      storage(Format::kU16, "U16", 2),
      storage(Format::kU32, "U32", 4),
      storage(Format::kU64, "U64", 8),
      storage(Format::kBool, "BOOL", 1),
  };
  return kRows;
}

}  // namespace quire
