#include "kernels/reference/kv_tile.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "tensor/float8.h"
#include "tensor/half.h"

namespace quire {
namespace {

constexpr int kHalfGroup = kKvScaleGroup / 2;
constexpr uint16_t kNanF16 = 0x7e00;

bool is_quantised(Format format) { return format == Format::kQ8_0 || format == Format::kQ4_0; }
int64_t codes_bytes(Format format) { return kKvScaleGroup * kKvBlockSize / (format == Format::kQ4_0 ? 2 : 1); }
int64_t group_bytes(Format format) { return codes_bytes(format) + kKvBlockSize * 2; }

float load_float(Format format, const std::byte* tile, int64_t index) {
  switch (format) {
    case Format::kF32: return reinterpret_cast<const float*>(tile)[index];
    case Format::kF16: return f16_to_f32(reinterpret_cast<const uint16_t*>(tile)[index]);
    case Format::kBF16: return bf16_to_f32(reinterpret_cast<const uint16_t*>(tile)[index]);
    case Format::kF8_E4M3: return e4m3_to_f32(static_cast<uint8_t>(tile[index]));
    default: CHECK(!"kv_tile_bytes knows no such KV format");
  }
  return 0;
}

void store_float(Format format, std::byte* tile, int64_t index, float value) {
  switch (format) {
    case Format::kF32: reinterpret_cast<float*>(tile)[index] = value; return;
    case Format::kF16: reinterpret_cast<uint16_t*>(tile)[index] = f32_to_f16(value); return;
    case Format::kBF16: reinterpret_cast<uint16_t*>(tile)[index] = f32_to_bf16(value); return;
    case Format::kF8_E4M3: tile[index] = static_cast<std::byte>(f32_to_e4m3(value)); return;
    default: CHECK(!"kv_tile_bytes knows no such KV format");
  }
}

// The offset in bytes of the code of a dimension of the group.
using Place = int (*)(Format format, int dimension, int position);

int k_place(Format format, int dimension, int position) {
  const int d = format == Format::kQ4_0 ? dimension % kHalfGroup : dimension;
  return (d / 2 * kKvBlockSize + position) * 2 + d % 2;
}

int v_place(Format format, int dimension, int position) {
  const bool halves = format == Format::kQ4_0;
  const int d = halves ? dimension % kHalfGroup : dimension;
  return (position / 2 * (halves ? kHalfGroup : kKvScaleGroup) + d) * 2 + position % 2;
}

uint16_t scale_of(Format format, const float* values) {
  float least = 0, most = 0, bad = 0;
  for (int d = 0; d < kKvScaleGroup; ++d) {
    least = std::fmin(least, values[d]);
    most = std::fmax(most, values[d]);
    bad += values[d] * 0.0f;  // becomes NaN when a value is an infinity or a NaN
  }
  if (bad != 0) return kNanF16;
  const float widest = most >= -least ? most : least;
  return f32_to_f16(format == Format::kQ8_0 ? std::fabs(widest) / 127.0f : widest / -8.0f);
}

void load_groups(Format format, const std::byte* tile, int head_dim, int position, Place place, float* out) {
  for (int i = 0; i < head_dim; ++i) {
    const std::byte* group = tile + i / kKvScaleGroup * group_bytes(format);
    const uint16_t half = reinterpret_cast<const uint16_t*>(group + codes_bytes(format))[position];
    const int dimension = i % kKvScaleGroup;
    const auto byte = static_cast<uint8_t>(group[place(format, dimension, position)]);
    const int nibble = dimension < kHalfGroup ? byte & 15 : byte >> 4;
    const int code = format == Format::kQ4_0 ? nibble - 8 : static_cast<int8_t>(byte);
    out[i] = f16_to_f32(half) * static_cast<float>(code);
  }
}

void store_groups(Format format, std::byte* tile, int head_dim, int position, Place place, const float* values) {
  const bool halves = format == Format::kQ4_0;
  for (int first = 0; first < head_dim; first += kKvScaleGroup, tile += group_bytes(format)) {
    float group[kKvScaleGroup] = {};
    std::copy_n(values + first, std::min(kKvScaleGroup, head_dim - first), group);
    const uint16_t half = scale_of(format, group);
    const float scale = f16_to_f32(half);
    const float inverse = scale != 0 && std::isfinite(scale) ? 1.0f / scale : 0.0f;
    reinterpret_cast<uint16_t*>(tile + codes_bytes(format))[position] = half;
    const auto code_of = [=](float x) {
      const float code = inverse == 0 ? 0.0f : std::nearbyint(x * inverse);
      return static_cast<int>(halves ? std::clamp(code, -8.0f, 7.0f) : std::clamp(code, -127.0f, 127.0f));
    };
    for (int d = 0; d < (halves ? kHalfGroup : kKvScaleGroup); ++d) {
      const int code = halves ? (code_of(group[d]) + 8) | (code_of(group[d + kHalfGroup]) + 8) << 4 : code_of(group[d]);
      tile[place(format, d, position)] = static_cast<std::byte>(code);
    }
  }
}

// A piece at a time, the last one overlapping: rows are so short that calls of memcpy would take longer.
template <typename Piece>
void copy_pieces(const std::byte* from, std::byte* to, int64_t num_rows, int64_t stride, int64_t bytes) {
  constexpr int64_t kPiece = sizeof(Piece);
  for (int64_t row = 0; row < num_rows; ++row, from += stride, to += stride) {
    Piece last;
    std::memcpy(&last, from + bytes - kPiece, kPiece);
    for (int64_t i = 0; i < bytes - kPiece; i += kPiece) {
      Piece piece;
      std::memcpy(&piece, from + i, kPiece);
      std::memcpy(to + i, &piece, kPiece);
    }
    std::memcpy(to + bytes - kPiece, &last, kPiece);
  }
}

// `bytes` bytes of each of num_rows rows, `stride` bytes apart.
void copy_rows(const std::byte* from, std::byte* to, int64_t num_rows, int64_t stride, int64_t bytes) {
  if (bytes >= 16) return copy_pieces<std::array<uint64_t, 2>>(from, to, num_rows, stride, bytes);
  if (bytes >= 8) return copy_pieces<uint64_t>(from, to, num_rows, stride, bytes);
  if (bytes >= 4) return copy_pieces<uint32_t>(from, to, num_rows, stride, bytes);
  if (bytes >= 2) return copy_pieces<uint16_t>(from, to, num_rows, stride, bytes);
  copy_pieces<uint8_t>(from, to, num_rows, stride, bytes);
}

int64_t float_bytes(Format format) { return kv_tile_bytes(format, 8) / (8 * kKvBlockSize); }
// Of a position in the codes of a group.
int64_t position_bytes(Format format) { return codes_bytes(format) / kKvBlockSize; }

template <typename CopyCodes>
void copy_groups(Format format, const std::byte* from, std::byte* to, int head_dim, int first, int count,
                 const CopyCodes& copy_codes) {
  for (int i = 0; i < head_dim; i += kKvScaleGroup, from += group_bytes(format), to += group_bytes(format)) {
    copy_codes(from, to);
    const int64_t scales = codes_bytes(format) + first * 2;
    std::memcpy(to + scales, from + scales, static_cast<size_t>(count) * 2);
  }
}

// Codes of V: positions lie in pairs, whose bytes alternate.
void copy_v_codes(Format format, const std::byte* from, std::byte* to, int first, int count) {
  const int64_t width = position_bytes(format);
  const auto copy_one = [&](int position) {
    const int64_t at = v_place(format, 0, position);
    for (int64_t i = at; i < at + 2 * width; i += 2) to[i] = from[i];
  };
  const int end = first + count;
  const int first_pair = (first + 1) / 2;
  const int end_pair = end / 2;
  if (first % 2 == 1) copy_one(first);
  if (end_pair > first_pair) {
    const int64_t at = first_pair * 2 * width;
    std::memcpy(to + at, from + at, static_cast<size_t>((end_pair - first_pair) * 2 * width));
  }
  if (end % 2 == 1) copy_one(end - 1);
}

}  // namespace

int64_t kv_tile_bytes(Format format, int64_t head_dim) {
  const int64_t elements = head_dim * kKvBlockSize;
  switch (format) {
    case Format::kF32: return elements * 4;
    case Format::kF16:
    case Format::kBF16: return elements * 2;
    case Format::kF8_E4M3: return elements;
    case Format::kQ8_0:
    case Format::kQ4_0: return (head_dim + kKvScaleGroup - 1) / kKvScaleGroup * group_bytes(format);
    default: return 0;
  }
}

void load_k(Format format, const std::byte* tile, int head_dim, int position, float* out) {
  if (is_quantised(format)) return load_groups(format, tile, head_dim, position, k_place, out);
  for (int d = 0; d < head_dim; ++d) out[d] = load_float(format, tile, d * kKvBlockSize + position);
}

void load_v(Format format, const std::byte* tile, int head_dim, int position, float* out) {
  if (is_quantised(format)) return load_groups(format, tile, head_dim, position, v_place, out);
  for (int d = 0; d < head_dim; ++d) out[d] = load_float(format, tile, position * head_dim + d);
}

void store_k(Format format, std::byte* tile, int head_dim, int position, const float* values) {
  if (is_quantised(format)) return store_groups(format, tile, head_dim, position, k_place, values);
  for (int d = 0; d < head_dim; ++d) store_float(format, tile, d * kKvBlockSize + position, values[d]);
}

void store_v(Format format, std::byte* tile, int head_dim, int position, const float* values) {
  if (is_quantised(format)) return store_groups(format, tile, head_dim, position, v_place, values);
  for (int d = 0; d < head_dim; ++d) store_float(format, tile, position * head_dim + d, values[d]);
}

void copy_k(Format format, const std::byte* from, std::byte* to, int head_dim, int first, int count) {
  if (!is_quantised(format)) {
    const int64_t bytes = float_bytes(format);
    return copy_rows(from + first * bytes, to + first * bytes, head_dim, kKvBlockSize * bytes, count * bytes);
  }
  // Of two neighbouring dimensions, the codes of all positions lie together.
  copy_groups(format, from, to, head_dim, first, count, [&](const std::byte* codes, std::byte* copied) {
    copy_rows(codes + first * 2, copied + first * 2, position_bytes(format) / 2, kKvBlockSize * 2, count * 2);
  });
}

void copy_v(Format format, const std::byte* from, std::byte* to, int head_dim, int first, int count) {
  if (!is_quantised(format)) {
    const int64_t bytes = head_dim * float_bytes(format);
    std::memcpy(to + first * bytes, from + first * bytes, static_cast<size_t>(count * bytes));
    return;
  }
  copy_groups(format, from, to, head_dim, first, count,
              [&](const std::byte* codes, std::byte* copied) { copy_v_codes(format, codes, copied, first, count); });
}

}  // namespace quire
