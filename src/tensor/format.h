// Element and block formats of weights: how many elements share a block, how many bytes a block takes, and the plain
// conversions to and from float that every faster kernel is checked against. Each format is an enumerator here and a
// row in formats/, listed in formats/list.h; the order has no meaning. Block layouts: formats/blocks.h. Immutable
// tables; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace quire {

enum class Format : uint8_t {
  // Weights: these convert to float and back.
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ3_S,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
  kNVFP4,
  // What the loader makes of GPTQ, AWQ, compressed-tensors and FP8 checkpoints; no file has these blocks.
  kI4_G32,
  kI4_G128,
  kI8_G128,
  kS8_G64,
  kF8_G128,
  kF4_G16,
  // Storage: read from files as they are, for schemes that give them a meaning (GPTQ, AWQ, FP8).
  kF64,
  kF8_E4M3,
  kF8_E5M2,
  kF8_E8M0,
  kI8,
  kI16,
  kI32,
  kI64,
  kU8,
  kU16,
  kU32,
  kU64,
  kBool,
};
constexpr int kNumFormats = static_cast<int>(Format::kBool) + 1;

struct WeightFormat {
  Format format;
  const char* name;    // as files and users write it: "Q4_0", "F16"
  int block_elements;  // elements of a row that share a block; 1 for plain types
  int block_bytes;

  // `num_elements` is a multiple of block_elements. Block formats want `blocks` aligned to 2 bytes (F8_G128, F4_G16:
  // 4), plain types take any alignment. Quantising takes finite input of magnitudes up to 65504, what an f16 scale can
  // follow (NVFP4: 2688); anything else is safe but gives meaningless results. Both are null for storage formats.
  void (*dequantize)(const std::byte* blocks, float* out, int64_t num_elements) = nullptr;
  void (*quantize)(const float* in, std::byte* blocks, int64_t num_elements) = nullptr;

  bool is_weight() const { return dequantize != nullptr; }
  // Bytes of `num_elements` contiguous elements, a multiple of block_elements.
  size_t bytes_of(int64_t num_elements) const {
    return static_cast<size_t>(num_elements / block_elements) * static_cast<size_t>(block_bytes);
  }
};

const WeightFormat& weight_format(Format format);

// By WeightFormat::name, exactly as written there.
std::optional<Format> format_by_name(std::string_view name);

}  // namespace quire
