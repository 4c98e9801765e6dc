// The table of formats: a new one is a file beside this one, its declaration in conversions.h and a row here.
#include "tensor/format.h"

#include "base/check.h"
#include "tensor/formats/conversions.h"

namespace quire {
namespace {

constexpr WeightFormat kFormats[] = {
    {Format::kF32, "F32", 1, 4, dequantize_f32, quantize_f32},
    {Format::kF16, "F16", 1, 2, dequantize_f16, quantize_f16},
    {Format::kBF16, "BF16", 1, 2, dequantize_bf16, quantize_bf16},
    {Format::kQ8_0, "Q8_0", 32, sizeof(BlockQ8_0), dequantize_q8_0, quantize_q8_0},
    {Format::kQ4_0, "Q4_0", 32, sizeof(BlockQ4_0), dequantize_q4_0, quantize_q4_0},
    {Format::kQ4_1, "Q4_1", 32, sizeof(BlockQ4_1), dequantize_q4_1, quantize_q4_1},
    {Format::kQ5_0, "Q5_0", 32, sizeof(BlockQ5_0), dequantize_q5_0, quantize_q5_0},
    {Format::kQ5_1, "Q5_1", 32, sizeof(BlockQ5_1), dequantize_q5_1, quantize_q5_1},
    {Format::kQ2_K, "Q2_K", 256, sizeof(BlockQ2_K), dequantize_q2_k, quantize_q2_k},
    {Format::kQ3_K, "Q3_K", 256, sizeof(BlockQ3_K), dequantize_q3_k, quantize_q3_k},
    {Format::kQ4_K, "Q4_K", 256, sizeof(BlockQ4_K), dequantize_q4_k, quantize_q4_k},
    {Format::kQ5_K, "Q5_K", 256, sizeof(BlockQ5_K), dequantize_q5_k, quantize_q5_k},
    {Format::kQ6_K, "Q6_K", 256, sizeof(BlockQ6_K), dequantize_q6_k, quantize_q6_k},
    {Format::kIQ4_NL, "IQ4_NL", 32, sizeof(BlockIQ4_NL), dequantize_iq4_nl, quantize_iq4_nl},
    {Format::kIQ4_XS, "IQ4_XS", 256, sizeof(BlockIQ4_XS), dequantize_iq4_xs, quantize_iq4_xs},
    {Format::kMXFP4, "MXFP4", 32, sizeof(BlockMXFP4), dequantize_mxfp4, quantize_mxfp4},
    {Format::kI4_G32, "I4_G32", 32, sizeof(BlockI4<32>), dequantize_i4_g32, quantize_i4_g32},
    {Format::kI4_G128, "I4_G128", 128, sizeof(BlockI4<128>), dequantize_i4_g128, quantize_i4_g128},
    {Format::kI8_G128, "I8_G128", 128, sizeof(BlockI8), dequantize_i8_g128, quantize_i8_g128},
    {Format::kF8_G128, "F8_G128", 128, sizeof(BlockF8), dequantize_f8_g128, quantize_f8_g128},
    {Format::kF64, "F64", 1, 8, nullptr, nullptr},
    {Format::kF8_E4M3, "F8_E4M3", 1, 1, nullptr, nullptr},
    {Format::kF8_E5M2, "F8_E5M2", 1, 1, nullptr, nullptr},
    {Format::kF8_E8M0, "F8_E8M0", 1, 1, nullptr, nullptr},
    {Format::kI8, "I8", 1, 1, nullptr, nullptr},
    {Format::kI16, "I16", 1, 2, nullptr, nullptr},
    {Format::kI32, "I32", 1, 4, nullptr, nullptr},
    {Format::kI64, "I64", 1, 8, nullptr, nullptr},
    {Format::kU8, "U8", 1, 1, nullptr, nullptr},
    {Format::kU16, "U16", 1, 2, nullptr, nullptr},
    {Format::kU32, "U32", 1, 4, nullptr, nullptr},
    {Format::kU64, "U64", 1, 8, nullptr, nullptr},
    {Format::kBool, "BOOL", 1, 1, nullptr, nullptr},
};

constexpr bool rows_stand_at_their_index() {
  for (int i = 0; i < kNumFormats; ++i) {
    if (kFormats[i].format != static_cast<Format>(i)) return false;
  }
  return true;
}
static_assert(sizeof kFormats / sizeof kFormats[0] == kNumFormats && rows_stand_at_their_index());

}  // namespace

const WeightFormat& weight_format(Format format) {
  const auto index = static_cast<int>(format);
  CHECK(index < kNumFormats);
  return kFormats[index];
}

std::optional<Format> format_by_name(std::string_view name) {
  for (const WeightFormat& row : kFormats) {
    if (name == row.name) return row.format;
  }
  return std::nullopt;
}

}  // namespace quire
