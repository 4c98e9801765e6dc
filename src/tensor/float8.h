// 8-bit floats of the OCP specifications, as bit patterns in uint8_t: E4M3 (FP8 weights; no infinity, 0x7f and 0xff are
// NaN, the largest number is 448) and E8M0 (scales of MX formats: powers of two, 255 is NaN). Widening is exact.
#pragma once

#include <bit>
#include <cstdint>

namespace quire {

constexpr float kE4M3Largest = 448.0f;

constexpr bool e4m3_is_nan(uint8_t bits) { return (bits & 0x7f) == 0x7f; }

constexpr float e4m3_to_f32(uint8_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80u) << 24;
  const uint32_t magnitude = bits & 0x7fu;
  if (magnitude == 0x7f) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (magnitude >= 8) return std::bit_cast<float>(sign | ((magnitude << 20) + (120u << 23)));
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(static_cast<float>(magnitude) * 0x1p-9f));
}

// To nearest, ties to even; beyond the largest number saturates, NaN stays NaN.
constexpr uint8_t f32_to_e4m3(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint8_t>(sign | 0x7fu);
  if (magnitude >= 0x43e00000u) return static_cast<uint8_t>(sign | 0x7eu);  // from 448 on
  if (magnitude >= 0x3c800000u) {                                           // normal: from 2^-6 on
    return static_cast<uint8_t>(sign | ((magnitude + 0x7ffffu + ((magnitude >> 20) & 1u) - (120u << 23)) >> 20));
  }
  // Below 2^-6 the result counts units of 2^-9; adding 2^14 puts that unit into the last bit of the binary32 mantissa.
  const float shifted = std::bit_cast<float>(magnitude) + 0x1p14f;
  return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0x1p14f)));
}

// Half of an E8M0 scale's value, 2^(e - 128): the factor for values that are stored doubled.
constexpr float e8m0_half_to_f32(uint8_t e) {
  if (e == 255) return std::bit_cast<float>(0x7fc00000u);
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

}  // namespace quire
