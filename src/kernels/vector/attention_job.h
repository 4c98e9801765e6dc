// A job of attention: some rows of queries over some positions of one or more KV heads, for vectors of kLanes floats.
// How a call becomes jobs and why their results do not depend on it: attention.h. See math.h for how files of this
// folder are used.
//
// The rows of a head lie member by member: a member is a sequence, and sequences that share a prefix may be members of
// one job. At each tile of positions, neighbouring members whose tile is the same block are one run of rows, which
// reads it once; row tiles of up to kRowTile rows of a run share registers.
#pragma once

namespace quire {
namespace {

constexpr int kTile = kKvBlockSize;
constexpr int64_t kSplitPositions = 512;
constexpr int kBlockRows = 96;
constexpr int64_t kStepsAhead = 2;  // tiles from use to prefetch: measured best of 1, 2, 3, 4 and 8
constexpr float kMinusInfinity = -__builtin_inff();
constexpr float kLog2e = 1.44269504f;  // scores are kept times log2(e): the softmax is of powers of two
constexpr float kMostWord = 32767.0f;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t padded(int64_t head_dim) { return divide_up(head_dim, kKvGroup) * kKvGroup; }
inline int64_t float_bytes(Format format) { return format == Format::kF32 ? 4 : 2; }

// One thread's: the state of a job.
struct Scratch {
  float* q;               // [kBlockRows, kLeftStride], scaled; of a quantised K its 16-bit form
  float* weights;         // [kRowTile, kLeftStride]: scores of a tile, then their powers; from kTile on 16-bit weights
  float* sums;            // [kBlockRows, padded head_dim]: weighted V of the split
  float* totals;          // the same, of all splits so far
  float* split_max;       // [kBlockRows]
  float* split_sum;       // [kBlockRows, kLanes]
  float* total_max;       // [kBlockRows]
  float* total_sum;       // [kBlockRows]
  float* q_scale;         // [kBlockRows] of the 16-bit form
  float* k;               // [head_dim, kTile]: a tile as floats
  float* v;               // [kTile, padded head_dim]
  int64_t* position;      // [kBlockRows]
  int64_t* out_row;       // [kBlockRows] of out seen as [m * num_heads, head_dim]
  int64_t* member_begin;  // [kBlockRows + 1] where the rows of a member begin among those of a head
};

inline int64_t scratch_floats(int64_t head_dim) {
  return (kBlockRows + kRowTile) * kLeftStride + 2 * kBlockRows * padded(head_dim) + kBlockRows * (10 + kLanes) + 16 +
         2 * kTile * padded(head_dim);
}

inline Scratch make_scratch(float* p, int64_t head_dim) {
  const auto take = [&p](int64_t floats) {
    float* const taken = p;
    p += floats;
    return taken;
  };
  const int64_t width = padded(head_dim);
  Scratch s;
  s.q = take(kBlockRows * kLeftStride);
  s.weights = take(kRowTile * kLeftStride);
  s.sums = take(kBlockRows * width);
  s.totals = take(kBlockRows * width);
  s.k = take(kTile * width);
  s.v = take(kTile * width);
  s.split_max = take(kBlockRows);
  s.split_sum = take(kBlockRows * kLanes);
  s.total_max = take(kBlockRows);
  s.total_sum = take(kBlockRows);
  s.q_scale = take(kBlockRows);
  s.position = reinterpret_cast<int64_t*>(take(kBlockRows * 2));
  s.out_row = reinterpret_cast<int64_t*>(take(kBlockRows * 2));
  s.member_begin = reinterpret_cast<int64_t*>(take(kBlockRows * 2 + 2));
  return s;
}

struct Job {
  const AttentionArgs* args;
  Scratch scratch;
  int64_t group;    // query heads of a KV head
  int64_t k_bytes;  // of a tile
  int64_t v_bytes;
  int first_head;  // KV heads [first_head, first_head + num_heads)
  int num_heads;
  const int32_t* members;  // [num_members] sequences
  int num_members;
  int64_t first_row;  // of the only member's head; 0 of several members'
  int head_rows;      // of all members
  int num_rows;       // of all heads, head by head

  const AttentionSequence& member(int m) const { return args->sequences[members[m]]; }
  int64_t first_visible(int64_t position) const {
    return args->window > 0 ? larger(0, position - args->window + 1) : 0;
  }
  // Tiles that some row of the member sees.
  int64_t first_tile(int m) const { return first_visible(scratch.position[scratch.member_begin[m]]) / kTile; }
  int64_t last_tile(int m) const { return scratch.position[scratch.member_begin[m + 1] - 1] / kTile; }
};

// The scaled queries of a row as 16-bit numbers in place, zeros up to a whole group; returns their unit.
inline float quantise_query(float* q, int64_t head_dim) {
  for (int64_t i = head_dim; i < padded(head_dim); ++i) q[i] = 0;
  Vec most = set1(0), bad = set1(0);
  for (int64_t i = 0; i < padded(head_dim); i += kLanes) {
    most = max(abs(load(q + i)), most);
    bad = fma(load(q + i), set1(0), bad);  // NaN of an infinity or a NaN
  }
  const float unit = max_lanes(most) / kMostWord + sum_lanes(bad);
  const Vec inverse = set1(1.0f / unit);
  auto* words = reinterpret_cast<int16_t*>(q);
  for (int64_t i = 0; i < padded(head_dim); i += kLanes) store_i16(words + i, mul(load(q + i), inverse));
  return unit;
}

// Fills in the rows of a job whose other members are set.
void take_rows(Job& job) {
  const AttentionArgs& args = *job.args;
  const Scratch& s = job.scratch;
  const int64_t head_dim = args.kv.head_dim;
  const float scale = args.softcap > 0 ? args.scale : args.scale * kLog2e;
  int row = 0;
  for (int head = job.first_head; head < job.first_head + job.num_heads; ++head) {
    const int head_begin = row;
    for (int m = 0; m < job.num_members; ++m) {
      const AttentionSequence& sequence = job.member(m);
      const int64_t end = smaller(kBlockRows, sequence.num_rows * job.group - job.first_row);
      s.member_begin[m] = row - head_begin;
      for (int64_t i = job.first_row; i < job.first_row + end; ++i, ++row) {
        const int64_t token = sequence.first_row + i / job.group;
        const int64_t query_head = head * job.group + i % job.group;
        s.position[row] = sequence.first_position + i / job.group;
        s.out_row[row] = token * args.num_heads + query_head;
        const float* from = args.q + token * args.q_stride + query_head * head_dim;
        float* to = s.q + row * kLeftStride;
        for_vectors(head_dim, [=](int64_t d, int n) { store(to + d, mul(load_some(from + d, n), set1(scale))); });
        if (is_quantised(args.kv.k_format)) s.q_scale[row] = quantise_query(to, head_dim);
      }
    }
    job.head_rows = row - head_begin;
    s.member_begin[job.num_members] = job.head_rows;
  }
  job.num_rows = row;
}

// `count` elements, a multiple of 8.
template <typename Source>
inline void to_floats(const typename Source::Element* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, Source::load_lanes(from + i));
  if (i == count) return;
  typename Source::Element tail[kLanes] = {};
  __builtin_memcpy(tail, from + i, static_cast<size_t>(count - i) * sizeof(*from));
  store(to + i, Source::load_lanes(tail));
}

// Rows of `columns` elements to rows of floats `stride` apart; fetches as many ahead from `next`.
void rows_to_floats(Format format, const std::byte* from, const std::byte* next, int64_t rows, int64_t columns,
                    float* to, int64_t stride) {
  const auto convert = [=](auto source) {
    using Source = decltype(source);
    const auto* elements = reinterpret_cast<const typename Source::Element*>(from);
    const int64_t row_bytes = columns * float_bytes(format);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t byte = 0; byte < row_bytes; byte += 64) prefetch_far(next + row * row_bytes + byte);
      to_floats<Source>(elements + row * columns, columns, to + row * stride);
    }
  };
  switch (format) {
    case Format::kF16: return convert(F16Source{});
    case Format::kBF16: return convert(BF16Source{});
    default: return convert(F32Source{});
  }
}

// What soften finds out about the rows of a row tile, beside the weights.
struct Softened {
  alignas(64) float shrink[kLanes];  // by how much what the row gathered so far shrinks
  alignas(64) float top[kLanes];     // the largest weight
  alignas(64) float unit[kLanes];    // 1 / top when V is quantised: its weights are kept as fractions of top
  int low[kLanes];                   // the row sees lanes [low, high) of the tile
  int high[kLanes];
};

// Scores in place to powers of two of (score - max), which are 0 where the row sees nothing; updates the rows' max and
// sum.
void soften(const Job& job, int64_t tile, int first, int rows, Softened& out) {
  const AttentionArgs& args = *job.args;
  const bool whole_k = is_quantised(args.kv.k_format);
  const bool whole_v = is_quantised(args.kv.v_format);
  const float scale_back = args.softcap > 0 ? args.softcap * kLog2e : 0;
  alignas(64) float base[kLanes] = {};
  for (int r = 0; r < kLanes; ++r) out.shrink[r] = out.top[r] = 0;
  for (int r = 0; r < rows; ++r) {
    float* scores = job.scratch.weights + r * kLeftStride;
    const int64_t position = job.scratch.position[first + r];
    const int low = static_cast<int>(smaller(kTile, larger(0, job.first_visible(position) - tile * kTile)));
    const int high = static_cast<int>(smaller(kTile, larger(0, position + 1 - tile * kTile)));
    const bool part = low > 0 || high < kTile;
    Vec best = set1(kMinusInfinity);
    for (int i = 0; i < kTile; i += kLanes) {
      Vec s = load(scores + i);
      if (whole_k) s = mul(s, set1(job.scratch.q_scale[first + r]));
      if (scale_back > 0) s = mul(set1(scale_back), tanh(div(s, set1(args.softcap))));
      if (part) s = keep_lanes(s, low - i, high - i, set1(kMinusInfinity));
      if (whole_k || part || scale_back > 0) store(scores + i, s);
      best = max(s, best);
    }
    float& row_max = job.scratch.split_max[first + r];
    const float tile_max = max_lanes(best);
    const float new_max = tile_max > row_max ? tile_max : row_max;
    base[r] = new_max == kMinusInfinity ? 0 : new_max;  // (-inf) - (-inf) would be NaN
    out.shrink[r] = row_max;
    out.top[r] = tile_max;
    out.low[r] = low;
    out.high[r] = high;
    row_max = new_max;
  }
  store(out.shrink, exp2_nonpositive(sub(load(out.shrink), load(base))));
  if (whole_v) {
    store(out.top, exp2_nonpositive(sub(load(out.top), load(base))));
    store(out.unit, div(set1(1.0f), load(out.top)));
  }
  for (int r = 0; r < rows; ++r) {
    float* weights = job.scratch.weights + r * kLeftStride;
    float* row_sum = job.scratch.split_sum + (first + r) * kLanes;
    Vec sum = mul(load(row_sum), set1(out.shrink[r]));
    for (int i = 0; i < kTile; i += kLanes) {
      const Vec weight = exp2_nonpositive(sub(load(weights + i), set1(base[r])));
      sum = add(sum, weight);
      store(weights + i, whole_v ? mul(weight, set1(out.unit[r])) : weight);
    }
    store(row_sum, sum);
  }
}

// Weights times the V scales of a group as 16-bit numbers behind the weights, by row; factor: what a row's are to be
// multiplied with. Only scales that the row sees count, or its bits would depend on what was written after it.
// A row that sees nothing, or only zeros, gets any numbers and the factor 0.
void quantise_weights(const Job& job, const uint16_t* scales, const Softened& tile, int rows, float* factor) {
  constexpr int kVectors = kTile / kLanes;
  Vec fractions[kVectors];
  float widest = 0;
  for (int r = 0; r < rows; ++r) {
    if (r == 0 || tile.low[r] != tile.low[r - 1] || tile.high[r] != tile.high[r - 1]) {
      Vec most = set1(0), bad = set1(0);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const Vec scale = load_f16(scales + v * kLanes);
        fractions[v] = keep_lanes(scale, tile.low[r] - v * kLanes, tile.high[r] - v * kLanes, set1(0));
        most = max(abs(fractions[v]), most);
        bad = fma(fractions[v], set1(0), bad);  // NaN of an infinity or a NaN
      }
      widest = max_lanes(most) + sum_lanes(bad);
      const Vec inverse = set1(kMostWord / widest);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) fractions[v] = mul(fractions[v], inverse);
    }
    float* weights = job.scratch.weights + r * kLeftStride;
    auto* words = reinterpret_cast<int16_t*>(weights + kTile);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      store_i16(words + v * kLanes, mul(load(weights + v * kLanes), fractions[v]));
    }
    factor[r] = tile.top[r] * (widest * (1.0f / kMostWord));
  }
}

// One tile of positions for neighbouring rows of one head.
struct Visit {
  int64_t tile;
  int first;  // rows of the job [first, end)
  int end;
  const std::byte* k;
  const std::byte* v;
  const std::byte* later_k;  // what a later visit reads, to be fetched ahead
  const std::byte* later_v;
};

struct RowRange {
  int64_t least;  // positions
  int64_t most;
};
inline RowRange positions_of(const Job& job, int first, int rows) {
  RowRange range = {job.scratch.position[first], job.scratch.position[first]};
  for (int row = first + 1; row < first + rows; ++row) {
    range.least = smaller(range.least, job.scratch.position[row]);
    range.most = larger(range.most, job.scratch.position[row]);
  }
  return range;
}

// How the two products of a visit read their tiles.
struct TileSources {
  Format k_format;
  Format v_format;
  TileProduct scores;
  TileProduct values;
};

// Tiles of floats that more than one row tile reads are widened first, and V rows that are not whole vectors.
TileSources open_tiles(const Job& job, const Visit& visit, bool one_row_tile) {
  const KvLayer& kv = job.args->kv;
  const Scratch& s = job.scratch;
  TileSources sources{kv.k_format, kv.v_format, {}, {}};
  TileProduct& scores = sources.scores;
  scores.right = visit.k;
  scores.right_stride = kTile;
  scores.depth = kv.head_dim;
  scores.c = s.weights;
  scores.c_stride = kLeftStride;
  scores.columns = kTile;
  scores.next = visit.later_k;
  if (!one_row_tile && kv.k_format != Format::kF32 && !is_quantised(kv.k_format)) {
    rows_to_floats(kv.k_format, visit.k, visit.later_k, kv.head_dim, kTile, s.k, kTile);
    sources.k_format = Format::kF32;
    scores.right = s.k;
    scores.next = nullptr;
  }
  TileProduct& values = sources.values;
  values.left = s.weights;
  values.right = visit.v;
  values.right_stride = kv.head_dim;
  values.c_stride = padded(kv.head_dim);
  values.columns = static_cast<int>(divide_up(kv.head_dim, kLanes) * kLanes);
  values.next = visit.later_v;
  const bool widen = !one_row_tile && kv.v_format != Format::kF32;
  if (!is_quantised(kv.v_format) && (widen || kv.head_dim % kLanes != 0)) {
    const int64_t last = positions_of(job, visit.first, visit.end - visit.first).most;
    const int64_t written = smaller(kTile, last + 1 - visit.tile * kTile);
    rows_to_floats(kv.v_format, visit.v, visit.later_v, written, kv.head_dim, s.v, values.c_stride);
    sources.v_format = Format::kF32;
    values.right = s.v;
    values.right_stride = values.c_stride;
    values.next = nullptr;
  }
  return sources;
}

void score_codes(const Job& job, const Visit& visit, int first, int rows) {
  const KvLayer& kv = job.args->kv;
  CodeProduct t;
  t.c = job.scratch.weights;
  t.c_stride = kLeftStride;
  for (int64_t g = 0; g * kKvGroup < kv.head_dim; ++g) {
    t.left = reinterpret_cast<const int32_t*>(job.scratch.q + first * kLeftStride) + g * kGroupPairs;
    t.group = visit.k + g * group_bytes(kv.k_format);
    t.next = visit.later_k + g * group_bytes(kv.k_format);
    t.from_zero = g == 0;
    k_code_product(kv.k_format, t, rows);
  }
}

void add_value_codes(const Job& job, const Visit& visit, const Softened& softened, int first, int rows) {
  const KvLayer& kv = job.args->kv;
  alignas(64) float factor[kLanes];
  CodeProduct t;
  t.left = reinterpret_cast<const int32_t*>(job.scratch.weights + kTile);
  t.c_stride = padded(kv.head_dim);
  t.shrink = softened.shrink;
  t.factor = factor;
  for (int64_t g = 0; g * kKvGroup < kv.head_dim; ++g) {
    t.group = visit.v + g * group_bytes(kv.v_format);
    t.next = visit.later_v + g * group_bytes(kv.v_format);
    t.c = job.scratch.sums + first * t.c_stride + g * kKvGroup;
    const auto* scales = reinterpret_cast<const uint16_t*>(t.group + codes_bytes(kv.v_format));
    quantise_weights(job, scales, softened, rows, factor);
    v_code_product(kv.v_format, t, rows);
  }
}

void walk_tile(const Job& job, const Visit& visit) {
  const KvLayer& kv = job.args->kv;
  const Scratch& s = job.scratch;
  const int num_row_tiles = static_cast<int>(divide_up(visit.end - visit.first, kRowTile));
  const int row_tile = static_cast<int>(divide_up(visit.end - visit.first, num_row_tiles));
  TileSources sources = open_tiles(job, visit, num_row_tiles == 1);
  for (int first = visit.first; first < visit.end; first += row_tile) {
    const int rows = static_cast<int>(smaller(row_tile, visit.end - first));
    const RowRange range = positions_of(job, first, rows);
    const bool ahead_of_all = visit.tile * kTile > range.most;
    const bool behind_all = (visit.tile + 1) * kTile <= job.first_visible(range.least);
    if (ahead_of_all || behind_all) continue;
    if (is_quantised(kv.k_format)) {
      score_codes(job, visit, first, rows);
    } else {
      sources.scores.left = s.q + first * kLeftStride;
      tile_product(sources.k_format, sources.scores, rows);
    }
    Softened softened;
    soften(job, visit.tile, first, rows, softened);
    if (is_quantised(kv.v_format)) {
      add_value_codes(job, visit, softened, first, rows);
    } else {
      TileProduct& values = sources.values;
      // Beyond lies whatever was there before.
      values.depth = static_cast<int>(smaller(kTile, range.most + 1 - visit.tile * kTile));
      values.c = s.sums + first * values.c_stride;
      values.shrink = softened.shrink;
      tile_product(sources.v_format, values, rows);
    }
  }
}

// The members from m on that read the same block as m at this tile; none when m itself sees nothing there.
inline int run_of_members(const Job& job, int m, int64_t tile) {
  int end = m;
  const auto sees = [&job, tile](int i) { return job.first_tile(i) <= tile && tile <= job.last_tile(i); };
  while (end < job.num_members && sees(end) && job.member(end).block_table[tile] == job.member(m).block_table[tile]) {
    ++end;
  }
  return end;
}

// All positions of one split that any row of the job sees.
void walk_split(const Job& job, int64_t split) {
  const Scratch& s = job.scratch;
  const int64_t width = padded(job.args->kv.head_dim);
  for (int row = 0; row < job.num_rows; ++row) {
    s.split_max[row] = kMinusInfinity;
    for (int i = 0; i < kLanes; ++i) s.split_sum[row * kLanes + i] = 0;
    for (int64_t i = 0; i < width; ++i) s.sums[row * width + i] = 0;
  }
  const RowRange range = positions_of(job, 0, job.head_rows);
  const int64_t first = larger(split * kSplitPositions, job.first_visible(range.least)) / kTile;
  const int64_t last = smaller((split + 1) * kSplitPositions - 1, range.most) / kTile;
  const int64_t num_steps = (last - first + 1) * job.num_heads;
  for (int64_t step = 0; step < num_steps; ++step) {
    const int64_t tile = first + step / job.num_heads;
    const int64_t head = step % job.num_heads;
    const int64_t later = smaller(step + kStepsAhead, num_steps - 1);
    int end = 0;
    for (int m = 0; m<job.num_members; m = end> m ? end : m + 1) {
      end = run_of_members(job, m, tile);
      if (end == m) continue;
      const int32_t* table = job.member(m).block_table;
      const auto index_of = [&job, table](int64_t at, int64_t h) {
        return table[at] * int64_t{job.args->kv.num_kv_heads} + job.first_head + h;
      };
      const int64_t now_index = index_of(tile, head);
      const int64_t later_index =
          index_of(smaller(first + later / job.num_heads, job.last_tile(m)), later % job.num_heads);
      walk_tile(job, {.tile = tile,
                      .first = static_cast<int>(head * job.head_rows + s.member_begin[m]),
                      .end = static_cast<int>(head * job.head_rows + s.member_begin[end]),
                      .k = job.args->kv.k + now_index * job.k_bytes,
                      .v = job.args->kv.v + now_index * job.v_bytes,
                      .later_k = job.args->kv.k + later_index * job.k_bytes,
                      .later_v = job.args->kv.v + later_index * job.v_bytes});
    }
  }
}

}  // namespace
}  // namespace quire
