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

// The tokens of a tile. The results of the most, with the two vectors of a panel, are 24 of 32 registers.
#ifdef QUIRE_SMALL_TILES
constexpr int kMostTokens = 4;
constexpr int kFewerTokens = 4;
#else
constexpr int kMostTokens = 12;
constexpr int kFewerTokens = 8;
#endif
// The size of the tiles that num_tokens tokens fill best.
constexpr int tile_tokens(int64_t num_tokens) {
  const int64_t tiles = divide_up(num_tokens, kMostTokens);
  return num_tokens <= tiles * kFewerTokens ? kFewerTokens : kMostTokens;
}
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

// 256 columns of the tokens of a call. The last tile is filled up with tokens of zeros.
struct TokenColumns {
  const std::byte* q8;  // the first token's Q8Block
  int64_t q8_stride;    // bytes between tokens
  int64_t num_tokens;
  int tile_tokens;  // the tokens of a tile
  alignas(64) float scales[QUIRE_TABLE::kTokenBlock + kMostTokens][kBlockGroups];
  alignas(64) float min_sums[QUIRE_TABLE::kTokenBlock + kMostTokens][kMinSums];
  alignas(64) int8_t last_codes[kMostTokens][kBlockColumns];

  int64_t num_tiles() const { return divide_up(num_tokens, tile_tokens); }
  bool is_whole(int64_t tile) const { return (tile + 1) * tile_tokens <= num_tokens; }
  const Q8Block* block(int64_t token) const { return reinterpret_cast<const Q8Block*>(q8 + token * q8_stride); }

  template <int kParts, bool kMins>
  void read() {
    for (int64_t t = 0; t < num_tokens; ++t) {
      const Q8Block* from = block(t);
      __builtin_memcpy(scales[t], from->scale, sizeof scales[t]);
      const int32_t* sums_of = kParts == 2 ? from->half_sum : from->sum;
      for (int i = 0; kMins && i < kParts * kBlockGroups; ++i) {
        min_sums[t][i] = from->scale[i / kParts] * static_cast<float>(sums_of[i]);
      }
    }
    const int64_t whole = num_tokens / tile_tokens * tile_tokens;
    if (whole == num_tokens) return;
    for (int64_t t = whole; t < whole + tile_tokens; ++t) {
      if (t < num_tokens) {
        __builtin_memcpy(last_codes[t - whole], block(t)->codes, sizeof last_codes[0]);
      } else {
        __builtin_memset(last_codes[t - whole], 0, sizeof last_codes[0]);
        __builtin_memset(scales[t], 0, sizeof scales[t]);
        __builtin_memset(min_sums[t], 0, sizeof min_sums[t]);
      }
    }
  }
};

// The integer sums of a step: [token][row of the panel].
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
        num_tiles_(tokens.num_tiles()),
        ring_(ring),
        sums_(ring.first()) {
    begin_tile();
  }

  [[gnu::always_inline]] void multiply_next() {
    if (tile_ == num_tiles_) return;
    const int8_t* codes = codes_ + part_ * 4 * kWords;
    const std::byte* weights = weights_ + part_ * kWords * kWordBytes;
    if (is_odd_) {
      multiply_step<1, kWords>(codes, stride_, weights, *sums_);
    } else {
      multiply_step<0, kWords>(codes, stride_, weights, *sums_);
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

  [[gnu::always_inline]] void begin_tile() {
    const bool whole = tokens_.is_whole(tile_);
    codes_ = whole ? tokens_.block(tile_ * tokens_.tile_tokens)->codes : tokens_.last_codes[0];
    stride_ = whole ? tokens_.q8_stride : kBlockColumns;
  }

  const TokenColumns& tokens_;
  const std::byte* weights_;
  int parts_;
  int64_t num_tiles_;
  bool is_odd_ = false;
  int64_t tile_ = 0;
  int part_ = 0;
  const int8_t* codes_ = nullptr;
  int64_t stride_ = 0;
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

// sums [num_tokens, kPanelRows] += 256 columns (fewer at the end of a row) of a panel times those of the tokens.
template <int kParts, bool kMins, int kTokens>
[[gnu::noinline]] void multiply_columns(const TokenColumns& tokens, const DecodedPanel& weights, int groups,
                                        const AheadShares& shares, float* sums) {
  const int parts = groups * kParts;
  SumsRing ring;
  Steps<kParts> steps(tokens, weights.codes, parts, ring);
  for (int i = 0; i < kSteps; ++i) steps.multiply_next();
  StepSums* done = ring.first();
  for (int64_t tile = 0; tile < tokens.num_tiles(); ++tile) {
    alignas(64) float last_sums[kTokens][kPanelRows];
    float* const of_tile = sums + tile * kTokens * kPanelRows;
    const bool whole = tokens.is_whole(tile);
    const size_t last_bytes = static_cast<size_t>(tokens.num_tokens - tile * kTokens) * sizeof last_sums[0];
    if (!whole) {
      __builtin_memset(last_sums, 0, sizeof last_sums);
      __builtin_memcpy(last_sums, of_tile, last_bytes);
    }
    float* const at = whole ? of_tile : last_sums[0];
    Vec totals[kTokens][kPanelVectors];
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      totals[t][0] = load(at + t * kPanelRows);
      totals[t][1] = load(at + t * kPanelRows + kLanes);
    }
    const float* const scales = tokens.scales[tile * kTokens];
    const float* const min_sums = tokens.min_sums[tile * kTokens];
    Ahead ahead = shares.of_tile(tile);
    for (int part = 0; part < parts; ++part) {
      steps.multiply_next();
      fetch<1>(ahead);
      add_step<kMins>(*done, weights.factors[part], scales + part / kParts, min_sums + part, totals);
      done = ring.next(done);
    }
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      store(at + t * kPanelRows, totals[t][0]);
      store(at + t * kPanelRows + kLanes, totals[t][1]);
    }
    if (!whole) __builtin_memcpy(of_tile, last_sums, last_bytes);
  }
}

template <int kWord, typename Packed>
inline void decode_signed_words(const Packed& packed, int v, Bytes minus_zero, std::byte* out) {
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
