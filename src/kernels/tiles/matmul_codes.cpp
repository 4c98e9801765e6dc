// Matrices of integer codes on tiles. One source for all formats: their decoders are small, and they share the
// products.
#include "kernels/tiles/code_tiles.h"
#include "kernels/tiles/parts.h"
#include "kernels/vector/matmul_layout.h"

namespace quire::QUIRE_TABLE {
namespace {

// Up to so many tokens the vector path is as fast, because decoding a panel takes as long as tiles save, or memory
// limits both; its bits are the same. With two parts of a group, tiles save less.
constexpr int64_t few_tokens(int parts) { return parts == 1 ? 7 : 16; }

// See MultiplyPanels (vector/parts.h).
template <Format kFormat>
void multiply_code_tiles(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x, int64_t first_token,
                         int64_t num_tokens, float* sums) {
  using Packed = PackedCodes<kFormat>;
  constexpr int kParts = Packed::kParts;
  if (num_tokens <= few_tokens(kParts)) {
    return QUIRE_BASE::multiply_panels_for(kFormat)(w, first, count, x, first_token, num_tokens, sums);
  }
  const int64_t stride = code_panel_bytes(Packed::kLayout, w.cols);
  const size_t q8_stride = q8_bytes(w.cols);
  TokenColumns tokens(x.packed + static_cast<size_t>(first_token) * q8_stride, q8_stride, num_tokens);
  const auto multiply = tokens.tiles.size <= kFewerTokens ? multiply_columns<kParts, Packed::kMins, kFewerTokens>
                                                          : multiply_columns<kParts, Packed::kMins, kMostTokens>;
  SumsRing ring = {};
  const TileConfig config(code_tiles(tokens.tiles.size, kGroupWords / kParts));
  const std::byte* const start = w.data + first * stride;
  const std::byte* part = start;
  for (int64_t k = 0; k < w.cols; k += kBlockColumns) {
    const int groups = groups_from(k, w.cols);
    const int64_t part_bytes = Packed::kLayout.header_bytes + groups * Packed::kLayout.group_bytes;
    const int64_t ahead = ahead_of({part - start, part_bytes, stride}, count, w.tuning);
    tokens.read<kParts, Packed::kMins>();
    for (int panel = 0; panel < count; ++panel) {
      const std::byte* const packed = part + panel * stride;
      DecodedPanel weights;
      decode_signed_panel<kFormat>(packed, groups, weights);
      const AheadShares shares(packed + ahead, stride, part_bytes, tokens.tiles.count, groups * kParts);
      multiply(tokens,
               {.weights = weights, .groups = groups, .ahead = shares, .sums = sums + panel * num_tokens * kPanelRows},
               ring);
    }
    part += part_bytes;
    tokens.q8 += sizeof(Q8Block);
  }
}

// The function for a code format; null for others. Searches kCodeFormats from row kIndex on.
template <int kIndex = 0>
MultiplyPanels code_tiles_for(Format format) {
  if constexpr (kIndex < kNumCodeFormats) {
    if (format == kCodeFormats[kIndex].format) return multiply_code_tiles<kCodeFormats[kIndex].format>;
    return code_tiles_for<kIndex + 1>(format);
  }
  return nullptr;
}

}  // namespace

MultiplyPanels code_tile_panels(Format format) { return code_tiles_for(format); }

}  // namespace quire::QUIRE_TABLE
