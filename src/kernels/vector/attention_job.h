// A job of attention: some query rows over some positions of one or more KV heads, for vectors of kLanes floats.
// attention.cpp says how a call is divided into jobs and why results do not depend on the division, math.h how the
// files of this folder are used.
//
// The rows of a head are ordered by member: a member is a sequence, and sequences that share a prefix may be members of
// one job. A job reads positions in stripes of kStripeTiles tiles. In each stripe, neighbouring members that read the
// same blocks form a run of rows, which reads them once; row tiles of a few rows of a run share registers.
#pragma once

#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/attention_products.h"
#include "kernels/vector/code_product.h"
#include "kernels/vector/loops.h"

namespace quire {
namespace {

constexpr int kTile = kKvBlockSize;
constexpr int64_t kSplitPositions = 512;
constexpr int kBlockRows = 96;
constexpr int kStripe = kStripeTiles * kTile;  // positions; the softmax handles the scores of a stripe at once
constexpr float kMinusInfinity = -__builtin_inff();
constexpr float kLog2e = 1.44269504f;  // scores are multiplied by log2(e): the softmax uses powers of two
constexpr float kMaxInt16 = 32767.0f;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t padded(int64_t head_dim) { return num_groups(head_dim) * kKvGroup; }

// The state of a job in the memory of its thread.
struct Scratch {
  float* q;               // [kBlockRows, kLeftStride], scaled; 16-bit integers when K is quantised, otherwise in the
                          // form of the products
  float* weights;         // [kBlockRows, kLeftStride] (RowTile::weights)
  float* sums;            // [kBlockRows, padded head_dim]: weighted V of the present split
  float* totals;          // [kBlockRows, padded head_dim]: weighted V of all splits so far
  float* split_max;       // [kBlockRows]
  float* split_sum;       // [kBlockRows, kLanes]
  float* total_max;       // [kBlockRows]
  float* total_sum;       // [kBlockRows]
  float* q_scale;         // [kBlockRows]: the scale of the 16-bit queries
  float* k;               // [kStripeTiles, padded head_dim, kTile]: tiles that AttentionProducts::widen made
  float* v;               // [kStripe, padded head_dim]: the same
  int64_t* position;      // [kBlockRows]
  int64_t* out_row;       // [kBlockRows]: row of `out`, seen as [m * num_heads, head_dim]
  int64_t* member_begin;  // [kBlockRows + 1]: the first row of each member, among the rows of a head
};

inline int64_t scratch_floats(int64_t head_dim) {
  return 2 * kBlockRows * kLeftStride + 2 * kBlockRows * padded(head_dim) + kBlockRows * (10 + kLanes) + 16 +
         2 * kStripe * padded(head_dim);
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
  s.weights = take(kBlockRows * kLeftStride);
  s.sums = take(kBlockRows * width);
  s.totals = take(kBlockRows * width);
  s.k = take(kStripe * width);
  s.v = take(kStripe * width);
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
  const AttentionProducts* products;  // those of floats; codes have their own
  Scratch scratch;
  int row_tile;          // the most rows of one product
  int64_t heads_per_kv;  // query heads of a KV head
  int64_t k_bytes;       // of a tile
  int64_t v_bytes;
  int first_head;  // KV heads [first_head, first_head + num_heads)
  int num_heads;
  const int32_t* members;  // [num_members] sequences
  int num_members;
  int64_t first_row;  // the first row of the only member; 0 with several members
  int head_rows;      // rows of one head, over all members
  int num_rows;       // rows of all heads, ordered by head

  const AttentionSequence& member(int m) const { return args->sequences[members[m]]; }
  int64_t first_visible(int64_t position) const {
    return args->window > 0 ? larger(0, position - args->window + 1) : 0;
  }
  // The first and the last tile that any row of the member sees.
  int64_t first_tile(int m) const { return first_visible(scratch.position[scratch.member_begin[m]]) / kTile; }
  int64_t last_tile(int m) const { return scratch.position[scratch.member_begin[m + 1] - 1] / kTile; }
};

// Converts the scaled queries of a row, padded with zeros, to 16-bit integers in place. Returns their scale.
inline float quantise_query(float* q, int64_t head_dim) {
  Vec most = set1(0), bad = set1(0);
  for (int64_t i = 0; i < padded(head_dim); i += kLanes) {
    most = max(abs(load(q + i)), most);
    bad = fma(load(q + i), set1(0), bad);  // becomes NaN when the input has an infinity or a NaN
  }
  const float unit = max_lanes(most) / kMaxInt16 + sum_lanes(bad);
  const Vec inverse = set1(1.0f / unit);
  auto* words = reinterpret_cast<int16_t*>(q);
  for (int64_t i = 0; i < padded(head_dim); i += kLanes) store_i16(words + i, mul(load(q + i), inverse));
  return unit;
}

// Converts the scaled queries of a row to the form that its products read.
void finish_query(Job& job, int row) {
  float* const q = job.scratch.q + row * kLeftStride;
  const KvLayer& kv = job.args->kv;
  for (int64_t i = kv.head_dim; i < padded(kv.head_dim); ++i) q[i] = 0;
  if (is_quantised(kv.k_format)) {
    job.scratch.q_scale[row] = quantise_query(q, kv.head_dim);
  } else if (job.products->narrow != nullptr) {
    job.products->narrow(q, padded(kv.head_dim), q);
  }
}

// Fills the rows of a job whose other fields are set.
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
      const int64_t end = smaller(kBlockRows, sequence.num_rows * job.heads_per_kv - job.first_row);
      s.member_begin[m] = row - head_begin;
      for (int64_t i = job.first_row; i < job.first_row + end; ++i, ++row) {
        const int64_t token = sequence.first_row + i / job.heads_per_kv;
        const int64_t query_head = head * job.heads_per_kv + i % job.heads_per_kv;
        s.position[row] = sequence.first_position + i / job.heads_per_kv;
        s.out_row[row] = token * args.num_heads + query_head;
        const float* from = args.q + token * args.q_stride + query_head * head_dim;
        float* to = s.q + row * kLeftStride;
        for_vectors(head_dim, [=](int64_t d, int n) { store(to + d, mul(load_some(from + d, n), set1(scale))); });
        finish_query(job, row);
      }
    }
    job.head_rows = row - head_begin;
    s.member_begin[job.num_members] = job.head_rows;
  }
  job.num_rows = row;
}

}  // namespace
}  // namespace quire
