// Attention over paged K and V for vectors of kLanes floats: divides a call into jobs and merges their results. math.h
// says how the files of this folder are used.
//
// Rows: each KV head serves `heads_per_kv` query heads; row r of a KV head is token r / heads_per_kv and query head
// r % heads_per_kv. A job is up to kBlockRows rows over the positions that they see: rows of one KV head when a prompt
// fills them; in decode rows of several neighbouring heads, whose tiles lie side by side in a block and are read as one
// stream; or rows of several sequences that share a prefix, which is then read once for all of them (Hydragen, arXiv
// 2402.05099, without its second pass).
//
// One answer: a row reads tiles of kKvBlockSize positions, counted from position 0, in splits of kSplitPositions. Each
// split starts with empty sums and produces (max, sum, weighted V). Splits are merged in ascending order, by the thread
// that computed all of them (prefill) or by the last of the threads that computed one each (decode). A tile or split in
// which a row sees no position changes none of its bits: the weights there are exactly 0 and the rescaling factor is
// exactly 1. (A sum may turn from -0 to +0; the result has +0 added.) So the result of a row depends neither on the
// other rows of its job nor on the number of jobs.
#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/attention_job.h"
#include "kernels/vector/attention_parts.h"
#include "kernels/vector/attention_walk.h"
#include "kernels/vector/loops.h"
#include "kernels/vector/parts.h"
#include "kernels/vector/tile_product.h"

namespace quire::QUIRE_TABLE {
namespace {

// The splits of a decoding sequence become separate jobs while the partial results of all such sequences fit into this
// many floats. A single row always fits.
constexpr int64_t kPartialFloats = int64_t{4} << 20;

// With this many jobs per thread, other threads can take over work from a thread that is slowed down. More jobs would
// be shorter, and long jobs stream memory better.
constexpr int64_t kJobsPerThread = 4;

// The search for sequences that share a prefix looks at this many after each one; this bounds the cost of planning.
constexpr int64_t kLookAhead = 64;

// The size of a partial result of one row and split: weighted V, then max and sum.
inline int64_t partial_floats(int64_t head_dim) { return padded(head_dim) + 16; }

struct SequencePlan {
  int64_t num_row_blocks;  // blocks of kBlockRows rows of a KV head
  int64_t first_split;     // the first that any of its rows sees
  int64_t num_splits;
  bool by_splits;   // each split is a separate job, whose results go to partials
  bool is_placed;   // belongs to a bundle
  float* partials;  // [splits, KV heads, rows of a head, partial_floats]
};

// Sequences whose rows share jobs. The jobs of a bundle are [row blocks, last first][head parts][splits].
struct Bundle {
  int64_t first_job;
  int64_t first_member;  // index into Call::members
  int64_t num_members;
  int64_t part_heads;  // KV heads of a job
  int64_t num_parts;
  int64_t num_row_blocks;
  int64_t first_split;
  int64_t num_splits;  // 1 unless by_splits: then each job computes all splits of its rows
  bool by_splits;
};

struct Call {
  const AttentionArgs* args;
  const AttentionProducts* products;
  SequencePlan* sequences;  // [num_sequences]
  Bundle* bundles;          // [num_bundles]
  int64_t num_bundles;
  int32_t* members;          // [num_sequences], bundle by bundle
  int32_t* num_splits_done;  // [num_sequences, KV heads]
  float* scratch;            // [num_threads, scratch_floats]
  int64_t heads_per_kv;      // query heads of a KV head

  int64_t head_rows(int64_t sequence) const { return args->sequences[sequence].num_rows * heads_per_kv; }
};

inline int64_t align64(int64_t bytes) { return divide_up(bytes, 64) * 64; }

// The sizes of the parts of the workspace before the scratch, in this order.
struct WorkspaceBytes {
  int64_t sequences;
  int64_t bundles;
  int64_t members;
  int64_t num_splits_done;
};
inline WorkspaceBytes workspace_bytes(int64_t num_sequences, int64_t num_kv_heads) {
  return {align64(num_sequences * static_cast<int64_t>(sizeof(SequencePlan))),
          align64(num_sequences * static_cast<int64_t>(sizeof(Bundle))),
          align64(num_sequences * static_cast<int64_t>(sizeof(int32_t))),
          align64(num_sequences * num_kv_heads * static_cast<int64_t>(sizeof(int32_t)))};
}

size_t attention_workspace_bytes(const AttentionLimits& limits) {
  const int64_t one_row =
      (limits.max_context / kSplitPositions + 1) * limits.num_heads * partial_floats(limits.head_dim);
  const int64_t partials = smaller(limits.max_rows * one_row, larger(one_row, kPartialFloats));
  const int64_t floats = partials + limits.num_threads * padded(scratch_floats(limits.head_dim));
  const WorkspaceBytes bytes = workspace_bytes(limits.max_sequences, limits.num_kv_heads);
  return static_cast<size_t>(bytes.sequences + bytes.bundles + bytes.members + bytes.num_splits_done + floats * 4);
}

// ---- merging splits ----

// Adds the next split in ascending order to the totals of a row. The totals start with the first split.
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

void write_out(const Job& job, int row) {
  const int64_t head_dim = job.args->kv.head_dim;
  float* out = job.args->out + job.scratch.out_row[row] * head_dim;
  const float* totals = job.scratch.totals + row * padded(head_dim);
  const Vec inverse = set1(1.0f / job.scratch.total_sum[row]);
  for_vectors(head_dim, [=](int64_t i, int n) { store_some(out + i, fma(load(totals + i), inverse, set1(0.0f)), n); });
}

// The split that the job has just computed becomes its totals.
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
  const Positions range = positions_of(job, 0, job.head_rows);
  const int64_t first = job.first_visible(range.least) / kSplitPositions;
  const int64_t last = range.most / kSplitPositions;
  walk_split(job, first);
  start_totals(job);
  for (int64_t split = first + 1; split <= last; ++split) {
    walk_split(job, split);
    for (int row = 0; row < job.num_rows; ++row) {
      merge_row(job, row, job.scratch.split_max[row], sum_lanes(load(job.scratch.split_sum + row * kLanes)),
                job.scratch.sums + row * width);
    }
  }
  for (int row = 0; row < job.num_rows; ++row) write_out(job, row);
}

// `partials` is the row's result of its first split; `stride` is the number of floats between splits.
void merge_partials(const Job& job, int row, const float* partials, int64_t num_splits, int64_t stride) {
  const int64_t width = padded(job.args->kv.head_dim);
  __builtin_memcpy(job.scratch.totals + row * width, partials, static_cast<size_t>(width) * sizeof(float));
  job.scratch.total_max[row] = partials[width];
  job.scratch.total_sum[row] = partials[width + 1];
  for (int64_t split = 1; split < num_splits; ++split) {
    const float* from = partials + split * stride;
    merge_row(job, row, from[width], from[width + 1], from);
  }
  write_out(job, row);
}

// Computes one split of sequences whose splits are separate jobs. The job that finishes the last split of a sequence
// merges them.
void walk_one_split(const Call& call, const Job& job, int64_t split) {
  const int64_t num_kv_heads = job.args->kv.num_kv_heads;
  const int64_t width = padded(job.args->kv.head_dim);
  const int64_t row_floats = partial_floats(job.args->kv.head_dim);
  walk_split(job, split);
  for (int part = 0; part < job.num_heads * job.num_members; ++part) {
    const int head = part / job.num_members;
    const int m = part % job.num_members;
    const int64_t sequence = job.members[m];
    const SequencePlan& plan = call.sequences[sequence];
    const int64_t index = split - plan.first_split;
    if (index < 0 || index >= plan.num_splits) continue;
    const int first = static_cast<int>(head * job.head_rows + job.scratch.member_begin[m]);
    const int64_t rows = call.head_rows(sequence);
    const int64_t stride = num_kv_heads * rows * row_floats;
    float* const partials = plan.partials + (job.first_head + head) * rows * row_floats;
    for (int r = 0; r < rows; ++r) {
      float* to = partials + index * stride + r * row_floats;
      __builtin_memcpy(to, job.scratch.sums + (first + r) * width, static_cast<size_t>(width) * sizeof(float));
      to[width] = job.scratch.split_max[first + r];
      to[width + 1] = sum_lanes(load(job.scratch.split_sum + (first + r) * kLanes));
    }
    int32_t* const num_splits_done = call.num_splits_done + sequence * num_kv_heads + job.first_head + head;
    if (__atomic_add_fetch(num_splits_done, 1, __ATOMIC_ACQ_REL) != plan.num_splits) continue;
    for (int r = 0; r < rows; ++r) merge_partials(job, first + r, partials + r * row_floats, plan.num_splits, stride);
  }
}

// ---- jobs ----

void run_job(const Call& call, int64_t index, int thread) {
  const AttentionArgs& args = *call.args;
  int64_t i = 0;  // the last bundle whose first job is not after this one
  for (int64_t end = call.num_bundles; end - i > 1;) {
    const int64_t middle = i + (end - i) / 2;
    (call.bundles[middle].first_job <= index ? i : end) = middle;
  }
  const Bundle& bundle = call.bundles[i];
  const int64_t rest = index - bundle.first_job;
  const int64_t part = rest / bundle.num_splits % bundle.num_parts;
  const int64_t block =
      bundle.num_row_blocks - 1 - rest / bundle.num_splits / bundle.num_parts;  // the longest jobs first
  Job job;
  job.args = &args;
  job.products = call.products;
  job.scratch = make_scratch(call.scratch + thread * padded(scratch_floats(args.kv.head_dim)), args.kv.head_dim);
  const bool has_codes = is_quantised(args.kv.k_format) || is_quantised(args.kv.v_format);
  job.row_tile = has_codes && kRowTile < call.products->row_tile ? kRowTile : call.products->row_tile;
  job.heads_per_kv = call.heads_per_kv;
  job.k_bytes = k_tile_bytes(args.kv.k_format, args.kv.head_dim);
  job.v_bytes = v_tile_bytes(args.kv.v_format, args.kv.head_dim);
  job.first_head = static_cast<int>(part * bundle.part_heads);
  job.num_heads = static_cast<int>(smaller(bundle.part_heads, args.kv.num_kv_heads - job.first_head));
  job.members = call.members + bundle.first_member;
  job.num_members = static_cast<int>(bundle.num_members);
  job.first_row = block * kBlockRows;
  take_rows(job);
  if (bundle.by_splits) {
    walk_one_split(call, job, bundle.first_split + rest % bundle.num_splits);
  } else {
    walk_all_splits(job);
  }
}

struct JobOfThread {
  const Call* call;
  int64_t index;
  int thread;
};

void run_job_within(const Call& call, int64_t index, int thread) {
  if (call.products->within == nullptr) return run_job(call, index, thread);
  const JobOfThread job = {&call, index, thread};
  call.products->within(
      [](const void* context) {
        const auto& its = *static_cast<const JobOfThread*>(context);
        run_job(*its.call, its.index, its.thread);
      },
      &job);
}

// Fills call.sequences. Returns how many jobs there would be with one KV head and one sequence each.
int64_t plan_sequences(const Call& call, float* partials) {
  const AttentionArgs& args = *call.args;
  int64_t num_narrow_jobs = 0;
  int64_t used = 0;
  for (int64_t i = 0; i < args.num_sequences; ++i) {
    const AttentionSequence& sequence = args.sequences[i];
    const int64_t position = sequence.first_position;
    const int64_t first_seen = args.window > 0 ? larger(0, position - args.window + 1) : 0;
    SequencePlan& plan = call.sequences[i];
    plan.is_placed = false;
    plan.num_row_blocks = divide_up(call.head_rows(i), kBlockRows);
    plan.first_split = first_seen / kSplitPositions;
    plan.num_splits = (position + sequence.num_rows - 1) / kSplitPositions - plan.first_split + 1;
    plan.partials = partials + used;
    const int64_t need = plan.num_splits * sequence.num_rows * args.num_heads * partial_floats(args.kv.head_dim);
    const bool fits = used + need <= kPartialFloats || (used == 0 && sequence.num_rows == 1);
    plan.by_splits = plan.num_row_blocks == 1 && plan.num_splits > 1 && fits;
    if (plan.by_splits) used += need;
    num_narrow_jobs += plan.num_row_blocks * args.kv.num_kv_heads * (plan.by_splits ? plan.num_splits : 1);
  }
  return num_narrow_jobs;
}

// Whether both sequences read the same block at a quarter of the positions that the first one sees. Sequences share
// prefixes only, so they then share at least that quarter.
bool share_prefix(const AttentionArgs& args, const AttentionSequence& a, const AttentionSequence& b) {
  const auto first_tile = [&args](const AttentionSequence& sequence) {
    return args.window > 0 ? larger(0, sequence.first_position - args.window + 1) / kTile : 0;
  };
  const auto last_tile = [](const AttentionSequence& s) { return (s.first_position + s.num_rows - 1) / kTile; };
  const int64_t tile = first_tile(a) + (last_tile(a) - first_tile(a)) / 4;
  return tile >= first_tile(b) && tile <= last_tile(b) && a.block_table[tile] == b.block_table[tile] &&
         a.block_table[tile] != kNoBlock;
}

// Makes the sequence, and later ones that share its prefix, members of the bundle, at most `widest` of them.
void gather_members(const Call& call, int64_t sequence, int64_t widest, Bundle& bundle) {
  const AttentionArgs& args = *call.args;
  int32_t* const members = call.members + bundle.first_member;
  const SequencePlan& plan = call.sequences[sequence];
  members[0] = static_cast<int32_t>(sequence);
  bundle.num_members = 1;
  bundle.by_splits = plan.by_splits;
  bundle.num_row_blocks = plan.num_row_blocks;
  bundle.first_split = plan.first_split;
  int64_t end_split = plan.first_split + plan.num_splits;
  int64_t rows = call.head_rows(sequence);
  const bool alone = !args.share_prefixes || plan.num_row_blocks > 1;
  const int64_t end = alone ? sequence : smaller(args.num_sequences, sequence + 1 + kLookAhead);
  for (int64_t other = sequence + 1; other < end && bundle.num_members < widest; ++other) {
    SequencePlan& its = call.sequences[other];
    if (its.is_placed || its.num_row_blocks > 1 || its.by_splits != plan.by_splits) continue;
    if (rows + call.head_rows(other) > kBlockRows) continue;
    if (!share_prefix(args, args.sequences[sequence], args.sequences[other])) continue;
    its.is_placed = true;
    members[bundle.num_members++] = static_cast<int32_t>(other);
    rows += call.head_rows(other);
    bundle.first_split = smaller(bundle.first_split, its.first_split);
    end_split = larger(end_split, its.first_split + its.num_splits);
  }
  bundle.num_splits = bundle.by_splits ? end_split - bundle.first_split : 1;
  bundle.part_heads =
      smaller(args.kv.num_kv_heads, smaller(larger(1, kBlockRows / rows), larger(1, widest / bundle.num_members)));
  bundle.num_parts = divide_up(args.kv.num_kv_heads, bundle.part_heads);
}

// Fills call.bundles and call.members. Returns the number of jobs. `widest`: how many jobs of one KV head and one
// sequence may be merged into one.
int64_t plan_bundles(Call& call, int64_t widest) {
  int64_t num_jobs = 0;
  int64_t num_placed = 0;
  call.num_bundles = 0;
  for (int64_t i = 0; i < call.args->num_sequences; ++i) {
    if (call.sequences[i].is_placed) continue;
    Bundle& bundle = call.bundles[call.num_bundles++];
    bundle.first_job = num_jobs;
    bundle.first_member = num_placed;
    gather_members(call, i, widest, bundle);
    num_placed += bundle.num_members;
    num_jobs += bundle.num_row_blocks * bundle.num_parts * bundle.num_splits;
  }
  return num_jobs;
}

void attention_in_floats(const Exec& exec, const AttentionArgs& args) { attend(exec, args, kFloatProducts); }

}  // namespace

void attend(const Exec& exec, const AttentionArgs& args, const AttentionProducts& products) {
  const WorkspaceBytes bytes = workspace_bytes(args.num_sequences, args.kv.num_kv_heads);
  std::byte* p = args.workspace;
  const auto take = [&p](int64_t taken) {
    std::byte* const part = p;
    p += taken;
    return part;
  };
  Call call;
  call.args = &args;
  call.products = &products;
  call.heads_per_kv = args.num_heads / args.kv.num_kv_heads;
  call.sequences = reinterpret_cast<SequencePlan*>(take(bytes.sequences));
  call.bundles = reinterpret_cast<Bundle*>(take(bytes.bundles));
  call.members = reinterpret_cast<int32_t*>(take(bytes.members));
  call.num_splits_done = reinterpret_cast<int32_t*>(take(bytes.num_splits_done));
  call.scratch = reinterpret_cast<float*>(p);
  __builtin_memset(call.num_splits_done, 0, static_cast<size_t>(bytes.num_splits_done));
  float* const partials = call.scratch + exec.num_threads * padded(scratch_floats(args.kv.head_dim));
  const int64_t num_narrow_jobs = plan_sequences(call, partials);
  const int64_t num_jobs = plan_bundles(call, larger(1, num_narrow_jobs / (kJobsPerThread * exec.num_threads)));
  auto run_one = [&call](int64_t index, int thread) { run_job_within(call, index, thread); };
  run_tasks(exec, num_jobs, run_one);
}

void override_attention(Kernels& table) {
  table.attention_workspace_bytes = attention_workspace_bytes;
  table.attention = attention_in_floats;
}

}  // namespace quire::QUIRE_TABLE
