// Attention over paged K and V for vectors of kLanes floats. See math.h for how files of this folder are used.
//
// Rows: the queries of one KV head are [tokens, heads of its group]; row r is token r / group, head r % group. A job is
// up to kBlockRows rows of one sequence over its positions: of one KV head when a prompt fills them, of several
// neighbouring heads in decode, whose tiles lie side by side in a block and are read as one stream. The rows of a head
// share every K and V tile, in row tiles of up to kRowTile that share registers.
//
// One answer: a row walks tiles of kKvBlockSize positions anchored at 0, in splits of kSplitPositions. A split starts
// from nothing and gives (max, sum, weighted V); splits are merged in ascending order, by the thread that walked them
// all (prefill) or by the last of those that walked one each (decode). A tile or split in which a row sees nothing
// changes none of its bits: weights there are exactly 0 and the rescaling factor is exactly 1. (A sum may turn from -0
// to +0; the result has +0 added.) So neither the other rows of a job nor the number of jobs can be seen in the result.
#pragma once

namespace quire {
namespace {

constexpr int kTile = kKvBlockSize;
constexpr int64_t kSplitPositions = 512;
constexpr int kBlockRows = 96;
constexpr int64_t kStepsAhead = 2;  // tiles from use to prefetch: measured best of 1, 2, 3, 4 and 8
constexpr float kMinusInfinity = -__builtin_inff();
constexpr float kLog2e = 1.44269504f;  // scores are kept times log2(e): the softmax is of powers of two

// Decoding sequences are divided by splits as long as their partial results fit here; one row of one sequence may
// always.
constexpr int64_t kPartialFloats = int64_t{4} << 20;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t padded(int64_t head_dim) { return divide_up(head_dim, 16) * 16; }
inline int64_t format_bytes(Format format) { return format == Format::kF32 ? 4 : 2; }

// ---- memory of a call ----

// One thread's: the state of a job.
struct Scratch {
  float* q;           // [kBlockRows, kLeftStride], scaled
  float* weights;     // [kRowTile, kLeftStride]: scores of a tile, then their powers
  float* sums;        // [kBlockRows, padded head_dim]: weighted V of the split
  float* totals;      // the same, of all splits so far
  float* split_max;   // [kBlockRows]
  float* split_sum;   // [kBlockRows, kLanes]
  float* total_max;   // [kBlockRows]
  float* total_sum;   // [kBlockRows]
  float* k;           // [head_dim, kTile]: a tile as floats
  float* v;           // [kTile, padded head_dim]
  int64_t* position;  // [kBlockRows]
};

inline int64_t scratch_floats(int64_t head_dim) {
  return (kBlockRows + kRowTile) * kLeftStride + 2 * kBlockRows * padded(head_dim) + kBlockRows * (5 + kLanes) +
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
  s.split_max = take(kBlockRows);
  s.split_sum = take(kBlockRows * kLanes);
  s.total_max = take(kBlockRows);
  s.total_sum = take(kBlockRows);
  s.k = take(kTile * width);
  s.v = take(kTile * width);
  s.position = reinterpret_cast<int64_t*>(take(kBlockRows * 2));
  return s;
}

// The result of one row and split, for the merge: weighted V, then max and sum.
inline int64_t partial_floats(int64_t head_dim) { return padded(head_dim) + 16; }

// Enough jobs for a thread that is slowed down to leave some to the others; beyond that, longer streams are worth more.
constexpr int64_t kJobsPerThread = 4;

// How one sequence is divided into jobs: [row blocks, last first][head parts][splits].
struct SequencePlan {
  int64_t first_job;
  int64_t part_heads;  // KV heads of a job
  int64_t num_parts;
  int64_t num_blocks;
  int64_t first_split;  // the earliest any of its rows sees
  int64_t num_splits;   // 1: each job walks all its splits
  float* partials;      // [head parts, splits, rows of a job], when num_splits > 1
};

struct Call {
  const AttentionArgs* args;
  SequencePlan* plans;  // [num_sequences]
  int32_t* num_walked;  // [num_sequences, KV heads]: splits done of the part that starts there
  float* scratch;       // [num_threads, scratch_floats]
  int64_t group;        // query heads of a KV head
};

inline int64_t align64(int64_t bytes) { return divide_up(bytes, 64) * 64; }
inline int64_t plans_bytes(int64_t num_sequences) {
  return align64(num_sequences * static_cast<int64_t>(sizeof(SequencePlan)));
}
inline int64_t counters_bytes(int64_t num_sequences, int64_t num_kv_heads) {
  return align64(num_sequences * num_kv_heads * static_cast<int64_t>(sizeof(int32_t)));
}

size_t attention_workspace_bytes(const AttentionLimits& limits) {
  const int64_t one_row =
      (limits.max_context / kSplitPositions + 1) * limits.num_heads * partial_floats(limits.head_dim);
  const int64_t partials = smaller(limits.max_rows * one_row, larger(one_row, kPartialFloats));
  const int64_t floats = partials + limits.num_threads * padded(scratch_floats(limits.head_dim));
  return static_cast<size_t>(plans_bytes(limits.max_sequences) +
                             counters_bytes(limits.max_sequences, limits.num_kv_heads) + floats * 4);
}

// ---- one job ----

struct Job {
  const AttentionArgs* args;
  const AttentionSequence* sequence;
  Scratch scratch;
  int64_t group;
  int first_head;  // KV heads [first_head, first_head + num_heads)
  int num_heads;
  int64_t first_row;  // rows [first_row, first_row + head_rows) of each
  int head_rows;
  int num_rows;    // of all its heads, head by head
  int row_tile;    // rows that share registers: head_rows divided evenly
  bool convert_k;  // to floats first: tiles used more than once, or V rows that are not whole vectors
  bool convert_v;

  int64_t position_of(int row) const { return scratch.position[row]; }
  int64_t first_visible(int64_t position) const {
    return args->window > 0 ? larger(0, position - args->window + 1) : 0;
  }
  int64_t query_offset(int row, int64_t token_stride) const {
    const int64_t head_row = first_row + row % head_rows;
    const int64_t head = (first_head + row / head_rows) * group + head_row % group;
    return (sequence->first_row + head_row / group) * token_stride + head * args->kv.head_dim;
  }
  // `head` counts from first_head.
  int64_t tile_element(int64_t tile, int head) const {
    const KvLayer& kv = args->kv;
    const int64_t block = sequence->block_table[tile];
    return (block * kv.num_kv_heads + first_head + head) * kv.head_dim * kTile;
  }
  const std::byte* k_tile(int64_t tile, int head) const {
    return args->kv.k + tile_element(tile, head) * format_bytes(args->kv.k_format);
  }
  const std::byte* v_tile(int64_t tile, int head) const {
    return args->kv.v + tile_element(tile, head) * format_bytes(args->kv.v_format);
  }
};

Job make_job(const Call& call, int64_t sequence, int64_t block, int64_t part, int thread) {
  const AttentionArgs& args = *call.args;
  Job job;
  job.args = &args;
  job.sequence = args.sequences + sequence;
  job.scratch = make_scratch(call.scratch + thread * padded(scratch_floats(args.kv.head_dim)), args.kv.head_dim);
  job.group = call.group;
  const int64_t part_heads = call.plans[sequence].part_heads;
  job.first_head = static_cast<int>(part * part_heads);
  job.num_heads = static_cast<int>(smaller(part_heads, args.kv.num_kv_heads - job.first_head));
  job.first_row = block * kBlockRows;
  job.head_rows = static_cast<int>(smaller(kBlockRows, job.sequence->num_rows * call.group - job.first_row));
  job.num_rows = job.num_heads * job.head_rows;
  const int64_t num_tiles = divide_up(job.head_rows, kRowTile);
  job.row_tile = static_cast<int>(divide_up(job.head_rows, num_tiles));
  job.convert_k = num_tiles > 1 && args.kv.k_format != Format::kF32;
  job.convert_v = (num_tiles > 1 && args.kv.v_format != Format::kF32) || args.kv.head_dim % kLanes != 0;

  const float scale = args.softcap > 0 ? args.scale : args.scale * kLog2e;
  for (int row = 0; row < job.num_rows; ++row) {
    job.scratch.position[row] = job.sequence->first_position + (job.first_row + row % job.head_rows) / job.group;
    const float* from = args.q + job.query_offset(row, args.q_stride);
    float* to = job.scratch.q + row * kLeftStride;
    for_vectors(args.kv.head_dim, [=](int64_t i, int n) { store(to + i, mul(load_some(from + i, n), set1(scale))); });
  }
  return job;
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
    const int64_t row_bytes = columns * format_bytes(format);
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

// Scores in place to powers of two of (score - max), which are 0 where the row sees nothing; updates the rows' max and
// sum and gives the factors by which what they gathered so far shrinks.
void soften(const Job& job, int64_t tile, int first, int rows, float* shrink) {
  const AttentionArgs& args = *job.args;
  const float scale_back = args.softcap > 0 ? args.softcap * kLog2e : 0;
  alignas(64) float base[kLanes];
  for (int r = 0; r < rows; ++r) {
    float* scores = job.scratch.weights + r * kLeftStride;
    const int64_t position = job.position_of(first + r);
    const int low = static_cast<int>(smaller(kTile, larger(0, job.first_visible(position) - tile * kTile)));
    const int high = static_cast<int>(smaller(kTile, larger(0, position + 1 - tile * kTile)));
    Vec best = set1(kMinusInfinity);
    for (int i = 0; i < kTile; i += kLanes) {
      Vec s = load(scores + i);
      if (scale_back > 0) s = mul(set1(scale_back), tanh(div(s, set1(args.softcap))));
      if (low > 0 || high < kTile) s = keep_lanes(s, low - i, high - i, set1(kMinusInfinity));
      if (scale_back > 0 || low > 0 || high < kTile) store(scores + i, s);
      best = max(s, best);
    }
    float& row_max = job.scratch.split_max[first + r];
    const float tile_max = max_lanes(best);
    const float new_max = tile_max > row_max ? tile_max : row_max;
    base[r] = new_max == kMinusInfinity ? 0 : new_max;  // (-inf) - (-inf) would be NaN
    shrink[r] = row_max;
    row_max = new_max;
  }
  store(shrink, exp2_nonpositive(sub(load(shrink), load(base))));
  for (int r = 0; r < rows; ++r) {
    float* weights = job.scratch.weights + r * kLeftStride;
    float* row_sum = job.scratch.split_sum + (first + r) * kLanes;
    Vec sum = mul(load(row_sum), set1(shrink[r]));
    for (int i = 0; i < kTile; i += kLanes) {
      const Vec weight = exp2_nonpositive(sub(load(weights + i), set1(base[r])));
      sum = add(sum, weight);
      store(weights + i, weight);
    }
    store(row_sum, sum);
  }
}

// One tile of positions for all rows of one of the job's heads; fetches ahead what a later step reads.
void walk_tile(const Job& job, int64_t tile, int head, int64_t later_tile, int later_head) {
  const KvLayer& kv = job.args->kv;
  const Scratch& s = job.scratch;
  const int64_t width = padded(kv.head_dim);
  const int64_t last_position = job.position_of(job.num_rows - 1);
  const std::byte* k = job.k_tile(tile, head);
  const std::byte* v = job.v_tile(tile, head);
  const std::byte* later_k = job.k_tile(later_tile, later_head);
  const std::byte* later_v = job.v_tile(later_tile, later_head);
  if (job.convert_k) rows_to_floats(kv.k_format, k, later_k, kv.head_dim, kTile, s.k, kTile);
  if (job.convert_v) {
    const int64_t written = smaller(kTile, last_position + 1 - tile * kTile);
    rows_to_floats(kv.v_format, v, later_v, written, kv.head_dim, s.v, width);
  }
  const Format k_format = job.convert_k ? Format::kF32 : kv.k_format;
  const Format v_format = job.convert_v ? Format::kF32 : kv.v_format;
  TileProduct scores;
  scores.right = job.convert_k ? static_cast<const void*>(s.k) : k;
  scores.right_stride = kTile;
  scores.depth = kv.head_dim;
  scores.c = s.weights;
  scores.c_stride = kLeftStride;
  scores.columns = kTile;
  TileProduct values;
  values.left = s.weights;
  values.right = job.convert_v ? static_cast<const void*>(s.v) : v;
  values.right_stride = job.convert_v ? width : kv.head_dim;
  values.c_stride = width;
  values.columns = static_cast<int>(divide_up(kv.head_dim, kLanes) * kLanes);
  if (!job.convert_k) scores.next = later_k;
  if (!job.convert_v) values.next = later_v;
  const int end = (head + 1) * job.head_rows;
  for (int first = head * job.head_rows; first < end; first += job.row_tile) {
    const int rows = static_cast<int>(smaller(job.row_tile, end - first));
    const int64_t last = job.position_of(first + rows - 1);
    const bool ahead_of_all = tile * kTile > last;
    const bool behind_all = (tile + 1) * kTile <= job.first_visible(job.position_of(first));
    if (ahead_of_all || behind_all) continue;
    alignas(64) float shrink[kLanes] = {};
    scores.left = s.q + first * kLeftStride;
    tile_product(k_format, scores, rows);
    soften(job, tile, first, rows, shrink);
    values.depth = static_cast<int>(smaller(kTile, last + 1 - tile * kTile));  // beyond lies whatever was there before
    values.c = s.sums + first * width;
    values.shrink = shrink;
    tile_product(v_format, values, rows);
  }
}

// All positions of one split that any row of the job sees.
void walk_split(const Job& job, int64_t split) {
  const int64_t width = padded(job.args->kv.head_dim);
  for (int row = 0; row < job.num_rows; ++row) {
    job.scratch.split_max[row] = kMinusInfinity;
    for (int i = 0; i < kLanes; ++i) job.scratch.split_sum[row * kLanes + i] = 0;
    for (int64_t i = 0; i < width; ++i) job.scratch.sums[row * width + i] = 0;
  }
  const int64_t first = larger(split * kSplitPositions, job.first_visible(job.position_of(0))) / kTile;
  const int64_t last = smaller((split + 1) * kSplitPositions - 1, job.position_of(job.num_rows - 1)) / kTile;
  const int64_t num_steps = (last - first + 1) * job.num_heads;
  for (int64_t step = 0; step < num_steps; ++step) {
    const int64_t later = smaller(step + kStepsAhead, num_steps - 1);
    walk_tile(job, first + step / job.num_heads, static_cast<int>(step % job.num_heads), first + later / job.num_heads,
              static_cast<int>(later % job.num_heads));
  }
}

// ---- joining splits ----

// Adds the next split, in ascending order, to a row's totals, which start as the first split.
void merge_row(const Job& job, int row, float split_max, float split_sum, const float* sums) {
  const int64_t width = padded(job.args->kv.head_dim);
  float& total_max = job.scratch.total_max[row];
  float& total_sum = job.scratch.total_sum[row];
  const float new_max = split_max > total_max ? split_max : total_max;
  const float base = new_max == kMinusInfinity ? 0 : new_max;
  alignas(64) float factors[kLanes] = {total_max - base, split_max - base};
  store(factors, exp2_nonpositive(load(factors)));
  total_max = new_max;
  total_sum = total_sum * factors[0] + split_sum * factors[1];
  float* totals = job.scratch.totals + row * width;
  for (int64_t i = 0; i < width; i += kLanes) {
    store(totals + i, fma(load(sums + i), set1(factors[1]), mul(load(totals + i), set1(factors[0]))));
  }
}

void write_out(const Job& job) {
  const AttentionArgs& args = *job.args;
  const int64_t width = padded(args.kv.head_dim);
  for (int row = 0; row < job.num_rows; ++row) {
    float* out = args.out + job.query_offset(row, static_cast<int64_t>(args.num_heads) * args.kv.head_dim);
    const float* totals = job.scratch.totals + row * width;
    const Vec inverse = set1(1.0f / job.scratch.total_sum[row]);
    for_vectors(args.kv.head_dim,
                [=](int64_t i, int n) { store_some(out + i, fma(load(totals + i), inverse, set1(0.0f)), n); });
  }
}

// ---- jobs ----

// The job's last split becomes its totals.
void start_totals(Job& job) {
  Scratch& s = job.scratch;
  float* const spare = s.totals;
  s.totals = s.sums;
  s.sums = spare;
  for (int row = 0; row < job.num_rows; ++row) {
    s.total_max[row] = s.split_max[row];
    s.total_sum[row] = sum_lanes(load(s.split_sum + row * kLanes));
  }
}

void walk_all_splits(Job& job) {
  const int64_t width = padded(job.args->kv.head_dim);
  const int64_t first = job.first_visible(job.position_of(0)) / kSplitPositions;
  const int64_t last = job.position_of(job.num_rows - 1) / kSplitPositions;
  walk_split(job, first);
  start_totals(job);
  for (int64_t split = first + 1; split <= last; ++split) {
    walk_split(job, split);
    for (int row = 0; row < job.num_rows; ++row) {
      merge_row(job, row, job.scratch.split_max[row], sum_lanes(load(job.scratch.split_sum + row * kLanes)),
                job.scratch.sums + row * width);
    }
  }
  write_out(job);
}

// One split of a sequence whose splits are jobs of their own; who finishes last merges them.
void walk_one_split(const Job& job, const SequencePlan& plan, int64_t index, int32_t* num_walked) {
  const int64_t width = padded(job.args->kv.head_dim);
  const int64_t stride = partial_floats(job.args->kv.head_dim);
  float* partials = plan.partials + job.first_head * job.head_rows * plan.num_splits * stride;
  walk_split(job, plan.first_split + index);
  for (int row = 0; row < job.num_rows; ++row) {
    float* to = partials + (index * job.num_rows + row) * stride;
    __builtin_memcpy(to, job.scratch.sums + row * width, static_cast<size_t>(width) * sizeof(float));
    to[width] = job.scratch.split_max[row];
    to[width + 1] = sum_lanes(load(job.scratch.split_sum + row * kLanes));
  }
  if (__atomic_add_fetch(num_walked, 1, __ATOMIC_ACQ_REL) != plan.num_splits) return;
  for (int64_t split = 0; split < plan.num_splits; ++split) {
    for (int row = 0; row < job.num_rows; ++row) {
      const float* from = partials + (split * job.num_rows + row) * stride;
      if (split == 0) {
        __builtin_memcpy(job.scratch.totals + row * width, from, static_cast<size_t>(width) * sizeof(float));
        job.scratch.total_max[row] = from[width];
        job.scratch.total_sum[row] = from[width + 1];
      } else {
        merge_row(job, row, from[width], from[width + 1], from);
      }
    }
  }
  write_out(job);
}

void run_job(const Call& call, int64_t index, int thread) {
  const int64_t num_kv_heads = call.args->kv.num_kv_heads;
  int64_t sequence = 0;  // the last whose first job is not after this one
  for (int64_t end = call.args->num_sequences; end - sequence > 1;) {
    const int64_t middle = sequence + (end - sequence) / 2;
    (call.plans[middle].first_job <= index ? sequence : end) = middle;
  }
  const SequencePlan& plan = call.plans[sequence];
  const int64_t rest = index - plan.first_job;
  const int64_t split = rest % plan.num_splits;
  const int64_t part = rest / plan.num_splits % plan.num_parts;
  const int64_t block = plan.num_blocks - 1 - rest / plan.num_splits / plan.num_parts;  // the longest jobs first
  Job job = make_job(call, sequence, block, part, thread);
  if (plan.num_splits == 1) {
    walk_all_splits(job);
  } else {
    walk_one_split(job, plan, split, call.num_walked + sequence * num_kv_heads + job.first_head);
  }
}

// Fills in call.plans; returns the number of jobs.
int64_t plan_jobs(const Call& call, int num_threads, float* partials) {
  const AttentionArgs& args = *call.args;
  int64_t num_narrow_jobs = 0;  // with one KV head each
  int64_t used = 0;
  for (int64_t i = 0; i < args.num_sequences; ++i) {
    const AttentionSequence& sequence = args.sequences[i];
    const int64_t position = sequence.first_position;
    const int64_t first_seen = args.window > 0 ? larger(0, position - args.window + 1) : 0;
    SequencePlan& plan = call.plans[i];
    plan.num_blocks = divide_up(sequence.num_rows * call.group, kBlockRows);
    plan.first_split = first_seen / kSplitPositions;
    plan.num_splits = (position + sequence.num_rows - 1) / kSplitPositions - plan.first_split + 1;
    plan.partials = partials + used;
    const int64_t need = plan.num_splits * sequence.num_rows * args.num_heads * partial_floats(args.kv.head_dim);
    const bool fits = used + need <= kPartialFloats || (used == 0 && sequence.num_rows == 1);
    if (plan.num_blocks > 1 || !fits) plan.num_splits = 1;
    if (plan.num_splits > 1) used += need;
    num_narrow_jobs += plan.num_blocks * args.kv.num_kv_heads * plan.num_splits;
  }
  const int64_t widest = larger(1, num_narrow_jobs / (kJobsPerThread * num_threads));
  int64_t num_jobs = 0;
  for (int64_t i = 0; i < args.num_sequences; ++i) {
    SequencePlan& plan = call.plans[i];
    const int64_t head_rows = args.sequences[i].num_rows * call.group;
    plan.first_job = num_jobs;
    plan.part_heads = plan.num_blocks > 1 ? 1 : smaller(args.kv.num_kv_heads, smaller(kBlockRows / head_rows, widest));
    plan.num_parts = divide_up(args.kv.num_kv_heads, plan.part_heads);
    num_jobs += plan.num_blocks * plan.num_parts * plan.num_splits;
  }
  return num_jobs;
}

void attention(const Exec& exec, const AttentionArgs& args) {
  const int64_t num_counters = args.num_sequences * args.kv.num_kv_heads;
  std::byte* p = args.workspace;
  Call call;
  call.args = &args;
  call.group = args.num_heads / args.kv.num_kv_heads;
  call.plans = reinterpret_cast<SequencePlan*>(p);
  p += plans_bytes(args.num_sequences);
  call.num_walked = reinterpret_cast<int32_t*>(p);
  p += counters_bytes(args.num_sequences, args.kv.num_kv_heads);
  for (int64_t i = 0; i < num_counters; ++i) call.num_walked[i] = 0;
  call.scratch = reinterpret_cast<float*>(p);
  const int64_t num_jobs =
      plan_jobs(call, exec.num_threads, call.scratch + exec.num_threads * padded(scratch_floats(args.kv.head_dim)));
  auto run_one = [&call](int64_t index, int thread) { run_job(call, index, thread); };
  run_tiles(exec, num_jobs, run_one);
}

void override_attention(Kernels& table) {
  table.attention_workspace_bytes = attention_workspace_bytes;
  table.attention = attention;
}

}  // namespace
}  // namespace quire
