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

constexpr int kHalfGroup = kKvGroup / 2;
constexpr uint16_t kNanF16 = 0x7e00;

bool is_quantised(Format format) { return format == Format::kQ8_0 || format == Format::kQ4_0; }

// How the codes of a quantised K or V tile lie.
struct Codes {
  bool bytes;  // of Q8_0; else halves of bytes
  bool is_v;

  bool has_fifth_bits() const { return !bytes && !is_v; }
  int least() const { return bytes ? -127 : has_fifth_bits() ? -16 : -8; }
  int most() const { return bytes ? 127 : -least() - 1; }
  int row_bytes() const { return bytes ? kKvGroup : kHalfGroup; }  // of a position in a group, without fifth bits
  int64_t group_bytes() const { return kKvBlockSize * (row_bytes() + (has_fifth_bits() ? 4 : 0)); }
  int shared_dims() const { return bytes ? kKvGroup : 2 * kKvGroup; }  // which share a scale
  int64_t num_groups(int64_t head_dim) const { return (head_dim + kKvGroup - 1) / kKvGroup; }
  int64_t num_scales(int64_t head_dim) const { return (head_dim + shared_dims() - 1) / shared_dims(); }
  int64_t scales_at(int64_t head_dim) const { return num_groups(head_dim) * group_bytes(); }
  int64_t tile_bytes(int64_t head_dim) const { return scales_at(head_dim) + num_scales(head_dim) * kKvBlockSize * 2; }

  // The offset in the group of the byte of dimension d.
  int byte_of(int d, int position) const {
    d %= row_bytes();
    return is_v ? (position / 2 * row_bytes() + d) * 2 + position % 2 : (d / 2 * kKvBlockSize + position) * 2 + d % 2;
  }
  // The offset in the group of the word of fifth bits of a position.
  int64_t fifth_bits_at(int position) const { return int64_t{kKvBlockSize} * row_bytes() + position * 4; }
  static int fifth_bit_of(int d) { return d / 2 + d % 2 * 16; }
};

Codes k_codes(Format format) { return {.bytes = format == Format::kQ8_0, .is_v = false}; }
Codes v_codes(Format format) { return {.bytes = format == Format::kQ8_0, .is_v = true}; }

float load_float(Format format, const std::byte* tile, int64_t index) {
  switch (format) {
    case Format::kF32: return reinterpret_cast<const float*>(tile)[index];
    case Format::kF16: return f16_to_f32(reinterpret_cast<const uint16_t*>(tile)[index]);
    case Format::kBF16: return bf16_to_f32(reinterpret_cast<const uint16_t*>(tile)[index]);
    case Format::kF8_E4M3: return e4m3_to_f32(static_cast<uint8_t>(tile[index]));
    default: CHECK(!"k_tile_bytes knows no such KV format");
  }
  return 0;
}

void store_float(Format format, std::byte* tile, int64_t index, float value) {
  switch (format) {
    case Format::kF32: reinterpret_cast<float*>(tile)[index] = value; return;
    case Format::kF16: reinterpret_cast<uint16_t*>(tile)[index] = f32_to_f16(value); return;
    case Format::kBF16: reinterpret_cast<uint16_t*>(tile)[index] = f32_to_bf16(value); return;
    case Format::kF8_E4M3: tile[index] = static_cast<std::byte>(f32_to_e4m3(value)); return;
    default: CHECK(!"k_tile_bytes knows no such KV format");
  }
}

uint16_t scale_of(const Codes& codes, const float* values, int count) {
  float least = 0, most = 0, bad = 0;
  for (int d = 0; d < count; ++d) {
    least = std::fmin(least, values[d]);
    most = std::fmax(most, values[d]);
    bad += values[d] * 0.0f;  // becomes NaN when a value is an infinity or a NaN
  }
  if (bad != 0) return kNanF16;
  const float widest = most >= -least ? most : least;
  return f32_to_f16(codes.bytes ? std::fabs(widest) / 127.0f : widest / static_cast<float>(codes.least()));
}

int load_code(const Codes& codes, const std::byte* group, int d, int position) {
  const auto byte = static_cast<uint8_t>(group[codes.byte_of(d, position)]);
  if (codes.bytes) return static_cast<int8_t>(byte);
  int code = d < kHalfGroup ? byte & 15 : byte >> 4;
  if (codes.has_fifth_bits()) {
    uint32_t bits;
    std::memcpy(&bits, group + codes.fifth_bits_at(position), sizeof bits);
    code |= static_cast<int>(bits >> Codes::fifth_bit_of(d) & 1u) << 4;
  }
  return code + codes.least();
}

// codes [kKvGroup]
void store_codes(const Codes& layout, std::byte* group, int position, const int* codes) {
  for (int d = 0; d < layout.row_bytes(); ++d) {
    const auto half = [&](int i) { return (codes[i] - layout.least()) & 15; };
    const int byte = layout.bytes ? codes[d] : half(d) | half(d + kHalfGroup) << 4;
    group[layout.byte_of(d, position)] = static_cast<std::byte>(byte);
  }
  if (!layout.has_fifth_bits()) return;
  uint32_t bits = 0;
  for (int d = 0; d < kKvGroup; ++d) bits |= static_cast<uint32_t>(codes[d] >= 0) << Codes::fifth_bit_of(d);
  std::memcpy(group + layout.fifth_bits_at(position), &bits, sizeof bits);
}

void load_groups(const Codes& codes, const std::byte* tile, int head_dim, int position, float* out) {
  const auto* scales = reinterpret_cast<const uint16_t*>(tile + codes.scales_at(head_dim));
  for (int i = 0; i < head_dim; ++i) {
    const int code = load_code(codes, tile + i / kKvGroup * codes.group_bytes(), i % kKvGroup, position);
    const uint16_t half = scales[i / codes.shared_dims() * kKvBlockSize + position];
    out[i] = f16_to_f32(half) * static_cast<float>(code);
  }
}

// Stores dimensions that share a scale, in `group` and the groups after it.
void store_shared(const Codes& layout, std::byte* group, uint16_t* scales, int position, const float* values,
                  int count) {
  const uint16_t half = scale_of(layout, values, count);
  const float scale = f16_to_f32(half);
  const float inverse = scale != 0 && std::isfinite(scale) ? 1.0f / scale : 0.0f;
  scales[position] = half;
  for (int first = 0; first < count; first += kKvGroup, group += layout.group_bytes()) {
    int codes[kKvGroup] = {};
    for (int d = 0; d < std::min(kKvGroup, count - first); ++d) {
      const float code = inverse == 0 ? 0.0f : std::nearbyint(values[first + d] * inverse);
      codes[d] =
          static_cast<int>(std::clamp(code, static_cast<float>(layout.least()), static_cast<float>(layout.most())));
    }
    store_codes(layout, group, position, codes);
  }
}

void store_groups(const Codes& layout, std::byte* tile, int head_dim, int position, const float* values) {
  auto* scales = reinterpret_cast<uint16_t*>(tile + layout.scales_at(head_dim));
  for (int first = 0; first < head_dim; first += layout.shared_dims(), scales += kKvBlockSize) {
    store_shared(layout, tile + first / kKvGroup * layout.group_bytes(), scales, position, values + first,
                 std::min(layout.shared_dims(), head_dim - first));
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

// Of an element; 0 for quantised formats and those that KV cannot have.
int64_t float_bytes(Format format) {
  switch (format) {
    case Format::kF32: return 4;
    case Format::kF16:
    case Format::kBF16: return 2;
    case Format::kF8_E4M3: return 1;
    default: return 0;
  }
}

void copy_scales(const Codes& codes, const std::byte* from, std::byte* to, int head_dim, int first, int count) {
  const int64_t at = codes.scales_at(head_dim) + first * 2;
  copy_rows(from + at, to + at, codes.num_scales(head_dim), kKvBlockSize * 2, count * 2);
}

// Of two neighbouring dimensions, the codes of all positions lie together.
void copy_k_codes(const Codes& codes, const std::byte* from, std::byte* to, int first, int count) {
  copy_rows(from + first * 2, to + first * 2, codes.row_bytes() / 2, kKvBlockSize * 2, count * 2);
  if (!codes.has_fifth_bits()) return;
  const int64_t at = codes.fifth_bits_at(first);
  std::memcpy(to + at, from + at, static_cast<size_t>(count) * 4);
}

// Codes of V: positions lie in pairs, whose bytes alternate.
void copy_v_codes(const Codes& codes, const std::byte* from, std::byte* to, int first, int count) {
  const int64_t width = codes.row_bytes();
  const auto copy_one = [&](int position) {
    const int64_t at = codes.byte_of(0, position);
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

void copy_groups(const Codes& codes, const std::byte* from, std::byte* to, int head_dim, int first, int count) {
  for (int64_t group = 0; group < codes.num_groups(head_dim); ++group) {
    const int64_t at = group * codes.group_bytes();
    (codes.is_v ? copy_v_codes : copy_k_codes)(codes, from + at, to + at, first, count);
  }
  copy_scales(codes, from, to, head_dim, first, count);
}

int64_t tile_bytes(Format format, const Codes& codes, int64_t head_dim) {
  return is_quantised(format) ? codes.tile_bytes(head_dim) : float_bytes(format) * kKvBlockSize * head_dim;
}

}  // namespace

int64_t k_tile_bytes(Format format, int64_t head_dim) { return tile_bytes(format, k_codes(format), head_dim); }
int64_t v_tile_bytes(Format format, int64_t head_dim) { return tile_bytes(format, v_codes(format), head_dim); }

void load_k(Format format, const std::byte* tile, int head_dim, int position, float* out) {
  if (is_quantised(format)) return load_groups(k_codes(format), tile, head_dim, position, out);
  for (int d = 0; d < head_dim; ++d) out[d] = load_float(format, tile, d * kKvBlockSize + position);
}

void load_v(Format format, const std::byte* tile, int head_dim, int position, float* out) {
  if (is_quantised(format)) return load_groups(v_codes(format), tile, head_dim, position, out);
  for (int d = 0; d < head_dim; ++d) out[d] = load_float(format, tile, position * head_dim + d);
}

void store_k(Format format, std::byte* tile, int head_dim, int position, const float* values) {
  if (is_quantised(format)) return store_groups(k_codes(format), tile, head_dim, position, values);
  for (int d = 0; d < head_dim; ++d) store_float(format, tile, d * kKvBlockSize + position, values[d]);
}

void store_v(Format format, std::byte* tile, int head_dim, int position, const float* values) {
  if (is_quantised(format)) return store_groups(v_codes(format), tile, head_dim, position, values);
  for (int d = 0; d < head_dim; ++d) store_float(format, tile, position * head_dim + d, values[d]);
}

void copy_k(Format format, const std::byte* from, std::byte* to, int head_dim, int first, int count) {
  if (is_quantised(format)) return copy_groups(k_codes(format), from, to, head_dim, first, count);
  const int64_t bytes = float_bytes(format);
  copy_rows(from + first * bytes, to + first * bytes, head_dim, kKvBlockSize * bytes, count * bytes);
}

void copy_v(Format format, const std::byte* from, std::byte* to, int head_dim, int first, int count) {
  if (is_quantised(format)) return copy_groups(v_codes(format), from, to, head_dim, first, count);
  const int64_t bytes = head_dim * float_bytes(format);
  std::memcpy(to + first * bytes, from + first * bytes, static_cast<size_t>(count * bytes));
}

}  // namespace quire
