// F32, F16 and BF16: one element per block, read at any alignment.
#include <cstring>

#include "tensor/formats/conversions.h"
#include "tensor/half.h"

namespace quire {
namespace {

void widen(const std::byte* blocks, float* out, int64_t num_elements, float (*convert)(uint16_t)) {
  for (int64_t i = 0; i < num_elements; ++i) {
    uint16_t half = 0;
    std::memcpy(&half, blocks + 2 * i, sizeof half);
    out[i] = convert(half);
  }
}

void narrow(const float* in, std::byte* blocks, int64_t num_elements, uint16_t (*convert)(float)) {
  for (int64_t i = 0; i < num_elements; ++i) {
    const uint16_t half = convert(in[i]);
    std::memcpy(blocks + 2 * i, &half, sizeof half);
  }
}

}  // namespace

void dequantize_f32(const std::byte* blocks, float* out, int64_t num_elements) {
  if (num_elements > 0) std::memcpy(out, blocks, static_cast<size_t>(num_elements) * sizeof(float));
}
void quantize_f32(const float* in, std::byte* blocks, int64_t num_elements) {
  if (num_elements > 0) std::memcpy(blocks, in, static_cast<size_t>(num_elements) * sizeof(float));
}

void dequantize_f16(const std::byte* blocks, float* out, int64_t num_elements) {
  widen(blocks, out, num_elements, f16_to_f32);
}
void quantize_f16(const float* in, std::byte* blocks, int64_t num_elements) {
  narrow(in, blocks, num_elements, f32_to_f16);
}

void dequantize_bf16(const std::byte* blocks, float* out, int64_t num_elements) {
  widen(blocks, out, num_elements, bf16_to_f32);
}
void quantize_bf16(const float* in, std::byte* blocks, int64_t num_elements) {
  narrow(in, blocks, num_elements, f32_to_bf16);
}

}  // namespace quire
