// Multiplies decoded codes by int8 rows on tiles. docs/kernels.md explains the form, vector/math.h how the files are
// used.
//
// A step is the columns that share a scale (32, or 16 for formats with sub-scales of 16) of a tile of tokens and a
// panel: two products on tiles, whose integer sums go through memory in the first-level cache, and then the
// multiply-adds of the vector path (vector/matmul_codes.h) in its order. Vectors finish one step while the tiles are
// kSteps steps ahead.
#pragma once

#include "isa/bytes.h"
#include "isa/tiles.h"
#include "isa/vec.h"
#include "isa/words.h"
#include "kernels/kernels.h"
#include "kernels/tiles/parts.h"
#include "kernels/vector/fetch_ahead.h"
#include "kernels/vector/loops.h"
#include "kernels/vector/matmul_decode.h"
#include "kernels/vector/matmul_layout.h"
#include "kernels/vector/q8_rows.h"

namespace quire {
namespace {

// The most tokens of a tile, whose results with the two vectors of a panel are 24 of 32 registers; and a smaller number
// for which vectors have a loop.
#ifdef QUIRE_SMALL_TILES
constexpr int kMostTokens = 4;
constexpr int kFewerTokens = 4;
#else
constexpr int kMostTokens = 12;
constexpr int kFewerTokens = 8;
#endif
static_assert(kLanes == kMaxTileRows && kPanelVectors == 2, "a vector of words is a row of a tile");

constexpr int kSteps = 2;  // that the tiles are ahead: their latency is about a step
constexpr int kSlots = 4;  // for the sums of steps: more than kSteps, so that a slot is read well before the next store

// Tiles 0 to 3 are the sums of the panel's vectors in even and in odd steps, 4 and 5 the tokens likewise, 6 and 7 the
// weights of the vectors.
constexpr TileConfigBytes code_tiles(int tokens, int words) {
  const TileSize sums = {tokens, 4 * kLanes};
  const TileSize codes = {tokens, 4 * words};
  const TileSize weights = {words, 4 * kLanes};
  return tile_config({sums, sums, sums, sums, codes, codes, weights, weights});
}

constexpr int kMinSums = 2 * kBlockGroups;  // of 256 columns of a token, at most

// Divides the tokens of a call into tiles of one size. The last begins earlier where it would go beyond the last token:
// some tokens are then multiplied twice, and the results of the second time are dropped.
struct TokenTiles {
  int64_t num_tokens;
  int64_t count;
  int size;

  explicit TokenTiles(int64_t tokens)
      : num_tokens(tokens), count(divide_up(tokens, kMostTokens)), size(static_cast<int>(divide_up(tokens, count))) {}
  int64_t first(int64_t tile) const { return (tile + 1) * size <= num_tokens ? tile * size : num_tokens - size; }
  // The tokens at the beginning of a tile that the one before it has too.
  int repeated(int64_t tile) const { return static_cast<int>(tile * size - first(tile)); }
};

// 256 columns of the tokens of a call.
struct TokenColumns {
  const std::byte* q8;  // the first token's Q8Block
  int64_t q8_stride;    // bytes between tokens
  TokenTiles tiles;
  // Vectors read up to kMostTokens rows from the first token of the last tile on, and drop what is not of a token.
  alignas(64) float scales[QUIRE_TABLE::kTokenBlock + kMostTokens][kBlockGroups];
  alignas(64) float min_sums[QUIRE_TABLE::kTokenBlock + kMostTokens][kMinSums];

  TokenColumns(const std::byte* blocks, size_t stride, int64_t num_tokens)
      : q8(blocks), q8_stride(static_cast<int64_t>(stride)), tiles(num_tokens) {
    __builtin_memset(scales[num_tokens], 0, kMostTokens * sizeof scales[0]);
    __builtin_memset(min_sums[num_tokens], 0, kMostTokens * sizeof min_sums[0]);
  }
  const Q8Block* block(int64_t token) const { return reinterpret_cast<const Q8Block*>(q8 + token * q8_stride); }

  template <int kParts, bool kMins>
  void read() {
    for (int64_t t = 0; t < tiles.num_tokens; ++t) {
      const Q8Block* from = block(t);
      __builtin_memcpy(scales[t], from->scale, sizeof scales[t]);
      const int32_t* sums_of = kParts == 2 ? from->half_sum : from->sum;
      for (int i = 0; kMins && i < kParts * kBlockGroups; ++i) {
        min_sums[t][i] = from->scale[i / kParts] * static_cast<float>(sums_of[i]);
      }
    }
  }
};

// The integer sums of a step: [token][row of the panel]; zeros after the tokens of a tile.
struct alignas(64) StepSums {
  int32_t at[kMostTokens][kPanelRows];
};
struct SumsRing {
  StepSums slots[kSlots];
  StepSums* first() { return slots; }
  StepSums* next(StepSums* slot) { return slot + 1 == slots + kSlots ? slots : slot + 1; }
};

template <int kSet, int kWords>
[[gnu::always_inline]] inline void multiply_step(const int8_t* tokens, int64_t stride, const std::byte* weights,
                                                 StepSums& sums) {
  constexpr int kFirst = 2 * kSet;
  constexpr int kSecond = 2 * kSet + 1;
  constexpr int kOfTokens = 4 + kSet;
  tile_zero<kFirst>();
  tile_zero<kSecond>();
  tile_load<kOfTokens>(tokens, stride);
  tile_load<6>(weights, kWordBytes);
  tile_dot_i8i8<kFirst, kOfTokens, 6>();
  tile_load<7>(weights + kVectorBytes, kWordBytes);
  tile_dot_i8i8<kSecond, kOfTokens, 7>();
  tile_store<kFirst>(sums.at[0], sizeof sums.at[0]);
  tile_store<kSecond>(sums.at[0] + kLanes, sizeof sums.at[0]);
}

// Multiplies the steps of a panel one after the other: the parts of the first tile of tokens, those of the second, ...
template <int kParts>
class Steps {
 public:
  Steps(const TokenColumns& tokens, const std::byte* weights, int parts, SumsRing& ring)
      : tokens_(tokens),
        weights_(weights),
        parts_(parts),
        num_tiles_(tokens.tiles.count),
        ring_(ring),
        sums_(ring.first()) {
    begin_tile();
  }

  [[gnu::always_inline]] void multiply_next() {
    if (tile_ == num_tiles_) return;
    const int8_t* codes = codes_ + part_ * 4 * kWords;
    const std::byte* weights = weights_ + part_ * kWords * kWordBytes;
    if (is_odd_) {
      multiply_step<1, kWords>(codes, tokens_.q8_stride, weights, *sums_);
    } else {
      multiply_step<0, kWords>(codes, tokens_.q8_stride, weights, *sums_);
    }
    is_odd_ = !is_odd_;
    sums_ = ring_.next(sums_);
    if (++part_ < parts_) return;
    part_ = 0;
    ++tile_;
    begin_tile();
  }

 private:
  static constexpr int kWords = kGroupWords / kParts;

  [[gnu::always_inline]] void begin_tile() { codes_ = tokens_.block(tokens_.tiles.first(tile_))->codes; }

  const TokenColumns& tokens_;
  const std::byte* weights_;
  int parts_;
  int64_t num_tiles_;
  bool is_odd_ = false;
  int64_t tile_ = 0;
  int part_ = 0;
  const int8_t* codes_ = nullptr;
  SumsRing& ring_;  // beside the object, whose other members stay in registers
  StepSums* sums_;  // of the next step
};

// totals += the sums of a step times the scales of the weights and of the tokens, which lie in rows of TokenColumns.
// The vector path's product of a sum is fma(kMagic + sum, scale, unmagic), which is the exact sum * scale, rounded
// once, and `none` for a sum of 0: so fma(sum, scale, none) has its bits, also where a scale is infinite.
template <bool kMins, int kTokens>
[[gnu::always_inline]] inline void add_step(const StepSums& sums, const float (&factors)[kPanelVectors][3][kLanes],
                                            const float* scales, const float* min_sums,
                                            Vec (&totals)[kTokens][kPanelVectors]) {
  const Vec scale[kPanelVectors] = {load(factors[0][0]), load(factors[1][0])};
  const Vec none[kPanelVectors] = {load(factors[0][1]), load(factors[1][1])};
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
    const Vec of_token = set1(scales[t * kBlockGroups]);
#pragma GCC unroll 2
    for (int v = 0; v < kPanelVectors; ++v) {
      const Vec scaled = fma(to_floats(load_bytes(sums.at[t] + v * kLanes)), scale[v], none[v]);
      totals[t][v] = fma(scaled, of_token, totals[t][v]);
    }
  }
  if constexpr (kMins) {
    const Vec min[kPanelVectors] = {load(factors[0][2]), load(factors[1][2])};
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      const Vec of_token = set1(min_sums[t * kMinSums]);
#pragma GCC unroll 2
      for (int v = 0; v < kPanelVectors; ++v) totals[t][v] = fma(min[v], of_token, totals[t][v]);
    }
  }
}

// 256 columns of a panel, fewer at the end of a row.
struct PanelColumns {
  const DecodedPanel& weights;
  int groups;
  const AheadShares& ahead;
  float* sums;  // [num_tokens, kPanelRows]
};

// sums += the columns of a panel times those of the tokens. The ring is zeros at first, and each call leaves the rows
// after the tokens of a tile so.
template <int kParts, bool kMins, int kTokens>
[[gnu::noinline]] void multiply_columns(const TokenColumns& tokens, const PanelColumns& panel, SumsRing& ring) {
  const int parts = panel.groups * kParts;
  Steps<kParts> steps(tokens, panel.weights.codes, parts, ring);
  for (int i = 0; i < kSteps; ++i) steps.multiply_next();
  StepSums* done = ring.first();
  for (int64_t tile = 0; tile < tokens.tiles.count; ++tile) {
    const int64_t first = tokens.tiles.first(tile);
    float* const at = panel.sums + first * kPanelRows;
    Vec totals[kTokens][kPanelVectors];
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      const float* from = at + (t < tokens.tiles.size ? t : 0) * kPanelRows;
      totals[t][0] = load(from);
      totals[t][1] = load(from + kLanes);
    }
    Ahead ahead = panel.ahead.of_tile(tile);
    for (int part = 0; part < parts; ++part) {
      steps.multiply_next();
      fetch<1>(ahead);
      add_step<kMins>(*done, panel.weights.factors[part], tokens.scales[first] + part / kParts,
                      tokens.min_sums[first] + part, totals);
      done = ring.next(done);
    }
    const int repeated = tokens.tiles.repeated(tile);
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      if (t < repeated || t >= tokens.tiles.size) continue;
      store(at + t * kPanelRows, totals[t][0]);
      store(at + t * kPanelRows + kLanes, totals[t][1]);
    }
  }
}

template <int kWord, typename Packed>
inline void decode_signed_words(Packed& packed, int v, Bytes minus_zero, std::byte* out) {
  if constexpr (kWord < kGroupWords) {
    store_bytes(out + kWord * kWordBytes, add_bytes(packed.template word<kWord>(0, v), minus_zero));
    decode_signed_words<kWord + 1>(packed, v, minus_zero, out);
  }
}

// The zero points of the rows (Factors::zero), negated, in each of the four bytes of a word.
inline Bytes minus_zeros(Bytes zeros) {
  constexpr int8_t kLowBytes[16] = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12};
  constexpr int32_t kOne = 1;
  return look_up(subtract_products(set1_byte(0), zeros, load_word(&kOne)), load_table(kLowBytes));
}

// decode_panel, but with code - zero, a signed byte, in place of a code, and `none` (add_step) in place of unmagic.
template <Format kFormat>
void decode_signed_panel(const std::byte* from, int groups, DecodedPanel& out) {
  using Packed = PackedCodes<kFormat>;
  Packed packed(from, 0);
  for (int g = 0; g < groups; ++g) {
    for (int v = 0; v < kPanelVectors; ++v) {
      decode_factors(packed, g, v, out);
      for (int part = g * Packed::kParts; part < (g + 1) * Packed::kParts; ++part) {
        auto& factors = out.factors[part][v];
        store(factors[1], fma(set1(kMagic), load(factors[0]), load(factors[1])));
      }
      Bytes minus_zero = set1_byte(-code_zero(Packed::kScheme));
      if constexpr (Packed::kZeros) minus_zero = minus_zeros(packed.factors(0, v, g).zero);
      decode_signed_words<0>(packed, v, minus_zero, out.codes + g * kDecodedGroupBytes + v * kVectorBytes);
    }
    packed.next_group();
  }
}

}  // namespace
}  // namespace quire
