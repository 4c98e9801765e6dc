// How a packed weight matrix lies in memory. See math.h for how files of this folder are used, docs/kernels.md for the
// reasons.
//
// A panel is two vectors of rows; a matrix is its panels one after the other. A panel of a block format is, per 256
// columns, a header with the scales of its rows and then the codes of up to eight groups of 32 columns. Codes stay as
// narrow as in the file: a code of 4 + 2 bits is a piece in a plane of four bits and one in a plane of two. A panel of
// a float format is, per column, the elements of its rows.
#pragma once

namespace quire {
namespace {

constexpr int kPanelVectors = 2;
constexpr int kPanelRows = kPanelVectors * kLanes;
constexpr int kGroup = 32;          // columns that share an activation scale
constexpr int kGroupWords = 8;      // a word: four neighbouring columns of one row, what Dots::add takes
constexpr int kBlockColumns = 256;  // columns under one header
constexpr int kBlockGroups = kBlockColumns / kGroup;
constexpr int kVectorBytes = 4 * kLanes;
constexpr int kWordBytes = kPanelVectors * kVectorBytes;  // of a word of all rows of a panel

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr bool is_code_format(Format format) {
  for (const CodeFormat& row : kCodeFormats) {
    if (row.format == format) return true;
  }
  return false;
}
constexpr CodeScheme scheme_of(Format format) {
  const CodeFormat* row = kCodeFormats;
  while (row->format != format) ++row;
  return row->scheme;
}
// 0 for formats that are not multiplied as floats.
constexpr int float_bytes(Format format) {
  return format == Format::kF32 ? 4 : format == Format::kF16 || format == Format::kBF16 ? 2 : 0;
}

// F8_G128: per 128 columns the float scales of the rows, then the columns.
constexpr int kF8Columns = 128;
constexpr int kF8PartBytes = kPanelRows * (4 + kF8Columns);

// Bytes of one 256-column part of a panel. The header: scales [scales][rows], then likewise f16 mins or zero points of
// a byte if the scheme has them, then int8 sub-scales [sub_scales][rows] and sub-mins likewise. A scale is an f16, or a
// byte of E8M0.
struct BlockLayout {
  int scales;  // per row
  int scale_bytes;
  int mins_offset;
  int zeros_offset;
  int sub_scales_offset;
  int sub_mins_offset;
  int header_bytes;
  int group_bytes;
};

constexpr BlockLayout block_layout(CodeScheme scheme) {
  const int sides = scheme.has_min ? 2 : 1;
  const int scales = scheme.sub_scales == 0 ? kBlockColumns / scheme.scale_elements : 1;
  const int scale_bytes = scheme.power_scales ? 1 : 2;
  const int scales_bytes = scales * kPanelRows * scale_bytes;
  const int zeros_bytes = scheme.has_zeros ? scales * kPanelRows : 0;
  const int subs_bytes = scheme.sub_scales * kPanelRows;
  return {.scales = scales,
          .scale_bytes = scale_bytes,
          .mins_offset = scales_bytes,
          .zeros_offset = scales_bytes,
          .sub_scales_offset = sides * scales_bytes,
          .sub_mins_offset = sides * scales_bytes + subs_bytes,
          .header_bytes = sides * (scales_bytes + subs_bytes) + zeros_bytes,
          .group_bytes = kWordBytes * (scheme.low_bits + scheme.high_bits)};
}

constexpr int64_t panel_bytes(Format format, int64_t cols) {
  if (format == Format::kF8_G128) return divide_up(cols, kF8Columns) * kF8PartBytes;
  if (!is_code_format(format)) return kPanelRows * cols * float_bytes(format);
  const BlockLayout layout = block_layout(scheme_of(format));
  return divide_up(cols, kBlockColumns) * layout.header_bytes + cols / kGroup * layout.group_bytes;
}

// Panels that are multiplied together, so that memory is read in several streams and the vectors share each broadcast
// activation: as many as leave their sums in registers.
constexpr int kMostPanels = 4;
constexpr int panels_together(TileShape tile, int64_t tokens) {
  return 4 * kPanelVectors * tokens <= tile.sums ? 4 : 2 * kPanelVectors * tokens <= tile.sums ? 2 : 1;
}

// body(first, count, index) over even tiles of tokens.
template <typename F>
inline void for_token_tiles(TileShape tile, int64_t num_tokens, F body) {
  const int64_t num_tiles = divide_up(num_tokens, tile.tokens);
  const int64_t tokens = num_tokens / num_tiles;
  const int64_t longer = num_tokens % num_tiles;  // so many tiles have a token more
  int64_t token = 0;
  for (int64_t i = 0; i < num_tiles; ++i) {
    const int64_t count = tokens + (i < longer ? 1 : 0);
    body(token, static_cast<int>(count), i);
    token += count;
  }
}

// The smallest tile of so many tokens or more, which are more than one tile.
constexpr int fewest_of_tile(TileShape tile, int num_tokens) {
  return num_tokens / static_cast<int>(divide_up(num_tokens, tile.tokens));
}

// body(first, panels) over `count` panels: as many as go together for these tokens, what is left one by one.
template <typename F>
inline void for_panels(TileShape tile, int count, int64_t num_tokens, F body) {
  const int together = panels_together(tile, num_tokens < tile.tokens ? num_tokens : tile.tokens);
  int panel = 0;
  for (; panel + together <= count; panel += together) body(panel, together);
  for (; panel < count; ++panel) body(panel, 1);
}

// Calls body.operator()<kPanels, kTokens>() for a tile of tokens in [kFewest, tile.tokens] and the panels that
// for_panels gives: of one tile of tokens or of several.
template <TileShape kTile, int kFewest, int kTokens = kTile.tokens, typename F>
inline void with_tile(int panels, int tokens, F body) {
  constexpr int kOfOneTile = panels_together(kTile, kTokens);
  constexpr int kOfMany = panels_together(kTile, kTile.tokens);
  if constexpr (kTokens > kFewest) {
    if (tokens < kTokens) return with_tile<kTile, kFewest, kTokens - 1>(panels, tokens, body);
  }
  if constexpr (kOfOneTile > 1) {
    if (panels == kOfOneTile) return body.template operator()<kOfOneTile, kTokens>();
  }
  if constexpr (kOfMany > 1 && kOfMany < kOfOneTile) {
    if (panels == kOfMany) return body.template operator()<kOfMany, kTokens>();
  }
  body.template operator()<1, kTokens>();
}

// How far from `at` bytes into a panel that is fetched which will be read then: behind a panel's end comes the next
// tile's, not its neighbour's in this tile of `count`.
inline int64_t ahead_of(int64_t at, int64_t stride, int count, const MatmulTuning& tuning) {
  return tuning.fetch_ahead + (at + tuning.fetch_ahead >= stride ? (count - 1) * stride : 0);
}

// Where in the first of some panels that will be read later fetching has come to: every round of a multiplication
// fetches some more, of all of them.
struct Ahead {
  const std::byte* at;
  const std::byte* due;  // fetched up to here by now
  int64_t stride;        // bytes between panels
  int64_t per_round;     // bytes
};

inline Ahead fetch_from(const std::byte* first, int64_t stride, int64_t per_round) {
  return {first, first, stride, per_round};
}

// Of kPanels panels that are multiplied together to their end: behind that come not those beside the first.
template <int kPanels>
inline void skip_panels(Ahead& ahead, const std::byte* end_of_first) {
  if (kPanels == 1 || ahead.at < end_of_first || ahead.at >= end_of_first + ahead.stride * (kPanels - 1)) return;
  ahead.at += ahead.stride * (kPanels - 1);
  ahead.due += ahead.stride * (kPanels - 1);
}

// `bytes` from `from` on in equal parts, one for each of num_tiles tiles of tokens.
struct AheadShares {
  const std::byte* from;
  int64_t stride;
  int64_t tile_bytes;
  int64_t per_round;

  AheadShares(const std::byte* first, int64_t panel_stride, int64_t bytes, int64_t num_tiles, int rounds)
      : from(first),
        stride(panel_stride),
        tile_bytes(divide_up(bytes, num_tiles)),
        per_round(divide_up(tile_bytes, rounds)) {}
  Ahead of_tile(int64_t index) const { return fetch_from(from + index * tile_bytes, stride, per_round); }
};

template <int kPanels>
[[gnu::always_inline]] inline void fetch(Ahead& ahead) {
  ahead.due += ahead.per_round;
  for (; ahead.at < ahead.due; ahead.at += 64) {
#pragma GCC unroll 4
    for (int i = 0; i < kPanels; ++i) prefetch_far(ahead.at + i * ahead.stride);
  }
}

// The tiles of a call in contiguous parts, one for each thread: a thread that asks for a tile gets the next of its own
// part, and those of others when that is done. So it reads memory as one stream, however its neighbours fare; of a
// matrix that is multiplied alone, what it has packed itself.
class TileParts {
 public:
  TileParts(int64_t num_tiles, int num_threads) : num_parts_(num_threads < kMostParts ? num_threads : kMostParts) {
    for (int part = 0; part < num_parts_; ++part) {
      parts_[part] = {num_tiles * part / num_parts_, num_tiles * (part + 1) / num_parts_};
    }
  }
  // To be called num_tiles times in all.
  int64_t take(int thread) {
    for (int part = thread % num_parts_;; part = (part + 1) % num_parts_) {
      Part& from = parts_[part];
      if (__atomic_load_n(&from.next, __ATOMIC_RELAXED) >= from.end) continue;
      const int64_t tile = __atomic_fetch_add(&from.next, 1, __ATOMIC_RELAXED);
      if (tile < from.end) return tile;
    }
  }

 private:
  static constexpr int kMostParts = 64;  // threads beyond share parts
  struct alignas(64) Part {
    int64_t next;
    int64_t end;
  };
  int num_parts_;
  Part parts_[kMostParts];
};

// sums += panels * tokens^T for `count` panels from `first` on, over all columns; sums:
// [count][num_tokens][kPanelRows].
using MultiplyPanels = void (*)(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x,
                                int64_t first_token, int64_t num_tokens, float* sums);

size_t matrix_bytes(Format format, int64_t rows, int64_t cols) {
  return static_cast<size_t>(divide_up(rows, kPanelRows) * panel_bytes(format, cols));
}

}  // namespace
}  // namespace quire
