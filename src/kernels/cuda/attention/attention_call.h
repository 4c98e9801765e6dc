// Divides a call of attention on CUDA into jobs and merges the results of splits. attention_kernel.h has the arithmetic
// inside a split.
//
// Rows: each KV head serves `heads_per_kv` query heads; row r of a KV head is token r / heads_per_kv and query head
// r % heads_per_kv. A job is up to rows_per_job rows of one KV head. Sequences of at most kFewRows rows are one job
// each, for one warp; longer ones are divided into jobs of several warps.
//
// One answer: a row reads tiles of positions, counted from position 0, in splits that begin at fixed positions. Each
// split starts with empty sums and produces (max, sum, weighted V). Splits are merged in ascending order, by the job
// that computed all of them, or by merge_splits when each had a separate block (Flash-Decoding). A tile or split in
// which a row sees no position changes none of its bits: the weights there are exactly 0 and the rescaling factor is
// exactly 1. (A sum may turn from -0 to +0; the result has +0 added.) So the result of a row depends neither on the
// other rows of its job nor on the number of jobs.
#pragma once

#include "kernels/cuda/device/gpu.h"

namespace quire {

constexpr int kFewRows = 16;

struct AttentionCall {
  AttentionArgs args;
  int heads_per_kv = 1;  // query heads of a KV head
  int rows_per_job = 0;  // at most kFewRows: job i is sequence i, for sequences of few rows; else of the longer ones
  int num_jobs = 0;      // an upper bound
  int num_splits = 0;    // > 0: every split has a separate block, which writes its result to the workspace
  int partial_rows = 0;  // rows of a job's result there
  float* partials = nullptr;
  int32_t* shared_splits = nullptr;  // [num_splits] whether packs compute the split; null: none
  int pack_rows = 0;                 // > 0: jobs are packs of this many rows, partial_rows of every sequence
  float to_log2 = 0.0f;              // the factor that turns stored scores into exponents of two

  __host__ __device__ bool few() const { return rows_per_job <= kFewRows; }
};

// Splits are short at first, so that a short context is work for several blocks too, and grow, so that a long context
// does not have too many: 256 positions each up to 2048, 512 up to 8192, then 1024.
__host__ __device__ constexpr int split_of(int position) {
  if (position < 2048) return position / 256;
  if (position < 8192) return 8 + (position - 2048) / 512;
  return 20 + (position - 8192) / 1024;
}
__host__ __device__ constexpr int split_begin(int split) {
  if (split < 8) return split * 256;
  if (split < 20) return 2048 + (split - 8) * 512;
  return 8192 + (split - 20) * 1024;
}

struct AttentionJob {
  AttentionSequence sequence;
  int index = 0;
  int first_row = 0;  // of the sequence's rows
  int num_rows = 0;   // 0: nothing to do
  int first_seen = 0;
  int last_seen = 0;  // the last position that some row sees; the block table ends with it

  __device__ int position(int heads_per_kv, int row) const {
    return static_cast<int>(sequence.first_position) + (first_row + row) / heads_per_kv;
  }
};

__device__ __forceinline__ int rows_of(const AttentionCall& call, const AttentionSequence& sequence) {
  const int rows = static_cast<int>(sequence.num_rows) * call.heads_per_kv;
  return (rows <= kFewRows) == call.few() ? rows : 0;
}

// The sequence of the job and its index among the sequence's jobs, counted from the last rows, which see the most
// positions. {-1, 0} when there is no such job. All lanes of a warp must call it together.
__device__ __forceinline__ int2 place_of_job(const AttentionCall& call, int job) {
  if (call.few()) return make_int2(job, 0);
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int num_sequences = static_cast<int>(call.args.num_sequences);
  int before = 0;
  for (int first = 0; first < num_sequences; first += kWarpSize) {
    const int rows = first + lane < num_sequences ? rows_of(call, call.args.sequences[first + lane]) : 0;
    int end = (rows + call.rows_per_job - 1) / call.rows_per_job;
    for (int step = 1; step < kWarpSize; step *= 2) {
      const int below = __shfl_up_sync(kAllLanes, end, static_cast<unsigned>(step));
      if (lane >= step) end += below;
    }
    const unsigned beyond = __ballot_sync(kAllLanes, job < before + end);
    if (beyond != 0) {
      const int owner = __ffs(static_cast<int>(beyond)) - 1;
      return make_int2(first + owner, before + __shfl_sync(kAllLanes, end, owner) - 1 - job);
    }
    before += __shfl_sync(kAllLanes, end, kWarpSize - 1);
  }
  return make_int2(-1, 0);
}

// The first sequence that has rows; -1 when none has. All lanes of a warp must call it together.
__device__ __forceinline__ int first_sequence(const AttentionCall& call) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int num_sequences = static_cast<int>(call.args.num_sequences);
  for (int first = 0; first < num_sequences; first += kWarpSize) {
    const bool works = first + lane < num_sequences && rows_of(call, call.args.sequences[first + lane]) > 0;
    const unsigned workers = __ballot_sync(kAllLanes, works);
    if (workers != 0) return first + __ffs(static_cast<int>(workers)) - 1;
  }
  return -1;
}

// A pack: rows of several sequences in one shared split, which all of them see.
__device__ __forceinline__ AttentionJob find_pack(const AttentionCall& call, int index, int split) {
  AttentionJob job;
  job.index = index;
  if (call.shared_splits[split] == 0) return job;
  job.sequence = call.args.sequences[first_sequence(call)];
  job.first_row = index * call.pack_rows;
  const int all_rows = static_cast<int>(call.args.num_sequences) * call.partial_rows;
  job.num_rows = min(call.pack_rows, all_rows - job.first_row);
  job.first_seen = split_begin(split);
  job.last_seen = split_begin(split + 1) - 1;
  return job;
}

__device__ __forceinline__ AttentionJob find_job(const AttentionCall& call, int index) {
  AttentionJob job;
  job.index = index;
  const int2 place = place_of_job(call, index);
  if (place.x < 0) return job;
  job.sequence = call.args.sequences[place.x];
  job.first_row = place.y * call.rows_per_job;
  job.num_rows = min(call.rows_per_job, rows_of(call, job.sequence) - job.first_row);
  if (job.num_rows <= 0) return job;
  const int window = static_cast<int>(call.args.window);
  const int first = job.position(call.heads_per_kv, 0);
  job.first_seen = window > 0 && first >= window ? first - window + 1 : 0;
  job.last_seen = job.position(call.heads_per_kv, job.num_rows - 1);
  return job;
}

// For a row of the job: its row in q and out, its query head, and the place of its result.
struct QueryRow {
  int64_t row;  // -1: none
  int head;
  int job;
  int job_row;
};
__device__ __forceinline__ QueryRow query_row(const AttentionCall& call, const AttentionJob& job, int kv_head,
                                              int row) {
  const int all = job.first_row + row;
  if (row >= job.num_rows) return {-1, 0, 0, 0};
  if (call.pack_rows == 0) {
    return {job.sequence.first_row + all / call.heads_per_kv, kv_head * call.heads_per_kv + all % call.heads_per_kv,
            job.index, row};
  }
  const int owner = all / call.partial_rows;
  const int its = all % call.partial_rows;
  const AttentionSequence& sequence = call.args.sequences[owner];
  if (its >= rows_of(call, sequence)) return {-1, 0, 0, 0};
  return {sequence.first_row + its / call.heads_per_kv, kv_head * call.heads_per_kv + its % call.heads_per_kv, owner,
          its};
}

// ---- the results of splits ----

__host__ __device__ __forceinline__ int64_t partial_floats(const AttentionCall& call) {
  return int64_t{call.partial_rows} * (call.args.kv.head_dim + 2);
}

// The result of a job's split: weighted V [partial_rows, head_dim], then max and sum [partial_rows, 2].
__device__ __forceinline__ float* partial_of(const AttentionCall& call, int job, int kv_head, int split) {
  const int64_t index = (int64_t{job} * call.args.kv.num_kv_heads + kv_head) * call.num_splits + split;
  return call.partials + index * partial_floats(call);
}

// The state of a row: the merged results of its splits so far.
struct RowTotal {
  float max = -INFINITY;
  float sum = 0.0f;
};

// Merges the next split in ascending order: values become fmaf(value, keep, value of the split * add).
struct MergeFactors {
  float keep;
  float add;
};
__device__ __forceinline__ MergeFactors merge(RowTotal& total, float split_max, float split_sum, float to_log2) {
  const float most = fmaxf(total.max, split_max);
  const float base = most == -INFINITY ? 0.0f : most;
  const MergeFactors factors = {exp2f((total.max - base) * to_log2), exp2f((split_max - base) * to_log2)};
  total.max = most;
  total.sum = fmaf(total.sum, factors.keep, split_sum * factors.add);
  return factors;
}

// Fills in call.shared_splits (attention_share.cu).
void find_shared_splits(const AttentionCall& call, Stream stream);

// Merges the results of splits in the workspace and writes `out` (attention_merge.cu).
void merge_attention_splits(const AttentionCall& call, Stream stream);

// The tensor-core kernels for K and V in f16 (attention_f16.cu), in bf16 (attention_bf16.cu), and for tiles that are
// converted to f16 first (attention_mixed.cu).
void run_attention_f16(const AttentionCall& call, Stream stream);
void run_attention_bf16(const AttentionCall& call, Stream stream);
void run_attention_mixed(const AttentionCall& call, Stream stream);

// Any format and head_dim in float32, with a warp per query and head (attention_plain.cu).
void run_attention_plain(const AttentionArgs& args, Stream stream);

}  // namespace quire
