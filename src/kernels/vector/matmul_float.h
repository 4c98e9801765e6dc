// Panels of floats times float rows. See math.h for how files of this folder are used.
//
// One element of the result is one chain of fused multiply-adds over the columns in ascending order.
#pragma once

namespace quire {
namespace {

constexpr int kFloatColumns = 64;  // decoded at a time: short enough that fetching, decoding and multiplying overlap

struct FloatProduct {
  const float* weights;  // [columns, kPanelRows]
  int columns;
  const float* x;
  int64_t x_stride;
  float* sums;             // [tokens, kPanelRows]
  const std::byte* ahead;  // weights that will be read next, fetched meanwhile: bytes_ahead per column
  int bytes_ahead;
};

template <int kTokens>
void multiply_floats(const FloatProduct& p) {
  Vec sums[kTokens][kPanelVectors];
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 16
    for (int v = 0; v < kPanelVectors; ++v) sums[t][v] = load(p.sums + t * kPanelRows + v * kLanes);
  }
  for (int k = 0; k < p.columns; ++k) {
    for (int byte = 0; byte < p.bytes_ahead; byte += 64) fetch_far(p.ahead + k * p.bytes_ahead + byte);
    Vec w[kPanelVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kPanelVectors; ++v) w[v] = load(p.weights + k * kPanelRows + v * kLanes);
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      const Vec x = set1(p.x[t * p.x_stride + k]);
#pragma GCC unroll 16
      for (int v = 0; v < kPanelVectors; ++v) sums[t][v] = fma(w[v], x, sums[t][v]);
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 16
    for (int v = 0; v < kPanelVectors; ++v) store(p.sums + t * kPanelRows + v * kLanes, sums[t][v]);
  }
}

using MultiplyFloats = void (*)(const FloatProduct&);

template <int kTokens = kTokenTile>
MultiplyFloats multiply_floats_for(int tokens) {
  if constexpr (kTokens > 1) {
    if (tokens < kTokens) return multiply_floats_for<kTokens - 1>(tokens);
  }
  return multiply_floats<kTokens>;
}

// Columns [first, first + columns) of the panel at `panel`, at most kFloatColumns from a multiple of it.
template <Format kFormat>
const float* decode_floats(const std::byte* panel, int64_t first, int columns, float* out) {
  const std::byte* packed = panel + first * kPanelRows * float_bytes(kFormat);
  if constexpr (kFormat == Format::kF32) {
    return reinterpret_cast<const float*>(packed);
  } else if constexpr (kFormat == Format::kF8_G128) {
    decode_f8(panel + first / kF8Columns * kF8PartBytes, static_cast<int>(first % kF8Columns), columns, out);
    return out;
  } else {
    const auto* in = reinterpret_cast<const uint16_t*>(packed);
    for (int i = 0; i < columns * kPanelRows; i += kLanes) {
      store(out + i, kFormat == Format::kF16 ? load_f16(in + i) : load_bf16(in + i));
    }
    return out;
  }
}

// See MultiplyPanels.
template <Format kFormat>
void multiply_float_panels(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x, int64_t first_token,
                           int64_t num_tokens, float* sums) {
  constexpr int kColumnBytes =
      kFormat == Format::kF8_G128 ? kF8PartBytes / kF8Columns : kPanelRows * float_bytes(kFormat);
  const int64_t stride = panel_bytes(kFormat, w.cols);
  alignas(64) float decoded[kFloatColumns * kPanelRows];
  for (int64_t k = 0; k < w.cols; k += kFloatColumns) {
    const auto columns = static_cast<int>(w.cols - k < kFloatColumns ? w.cols - k : kFloatColumns);
    for (int i = 0; i < count; ++i) {
      const std::byte* panel = w.data + (first + i) * stride;
      const float* weights = decode_floats<kFormat>(panel, k, columns, decoded);
      float* panel_sums = sums + i * num_tokens * kPanelRows;
      for_token_tiles(num_tokens, [&](int64_t token, int tokens) {
        multiply_floats_for<>(tokens)({weights, columns, x.f32 + (first_token + token) * w.cols + k, w.cols,
                                       panel_sums + token * kPanelRows, panel + k * kColumnBytes + kFetchAhead,
                                       token == 0 ? kColumnBytes : 0});
      });
    }
  }
}

}  // namespace
}  // namespace quire
