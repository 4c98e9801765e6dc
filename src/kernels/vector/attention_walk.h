// Walks the positions of an attention job, stripe by stripe and run by run. attention_job.h defines the job, math.h
// says how the files of this folder are used.
#pragma once

#include "kernels/kernels.h"
#include "kernels/vector/attention_job.h"
#include "kernels/vector/attention_stripe.h"

namespace quire {
namespace {

// Tiles [first, end), counted from position 0.
struct TileRange {
  int64_t first;
  int64_t end;
};
// The tiles of the stripe that some row of the member sees.
inline TileRange tiles_of(const Job& job, int m, int64_t stripe) {
  return {larger(stripe * kStripeTiles, job.first_tile(m)), smaller((stripe + 1) * kStripeTiles, job.last_tile(m) + 1)};
}

// Returns the end of the run of members, from m on, that read the same blocks as m in this stripe; m when m sees no
// position there.
inline int run_of_members(const Job& job, int m, int64_t stripe) {
  const TileRange range = tiles_of(job, m, stripe);
  if (range.first >= range.end) return m;
  int end = m + 1;
  for (; end < job.num_members; ++end) {
    const TileRange other = tiles_of(job, end, stripe);
    bool same = other.first == range.first && other.end == range.end;
    for (int64_t tile = range.first; same && tile < range.end; ++tile) {
      same = job.member(end).block_table[tile] == job.member(m).block_table[tile];
    }
    if (!same) break;
  }
  return end;
}

// A step of a job: one head in one stripe; and the later step whose tiles are prefetched meanwhile.
struct WalkStep {
  int64_t stripe;
  int64_t head;
  int64_t later_stripe;
  int64_t later_head;
};

// The first run of tiles in the range that have blocks; an empty run when there is none.
inline TileRange next_run_of_tiles(const int32_t* table, TileRange range) {
  while (range.first < range.end && table[range.first] == kNoBlock) ++range.first;
  int64_t end = range.first;
  while (end < range.end && table[end] != kNoBlock) ++end;
  return {range.first, end};
}

// The visit of members [m, end) to one run of tiles in their stripe.
Visit make_visit(const Job& job, int m, int end, const WalkStep& step, TileRange run) {
  const AttentionArgs& args = *job.args;
  const int32_t* table = job.member(m).block_table;
  Visit visit;
  visit.stripe = step.stripe;
  visit.first_tile = static_cast<int>(run.first - step.stripe * kStripeTiles);
  visit.end_tile = static_cast<int>(run.end - step.stripe * kStripeTiles);
  visit.first = static_cast<int>(step.head * job.head_rows + job.scratch.member_begin[m]);
  visit.end = static_cast<int>(step.head * job.head_rows + job.scratch.member_begin[end]);
  for (int64_t tile = run.first; tile < run.end; ++tile) {
    const int64_t i = tile % kStripeTiles;
    const int64_t later = smaller(step.later_stripe * kStripeTiles + i, job.last_tile(m));
    const int64_t later_block = table[later] == kNoBlock ? table[tile] : table[later];
    const int64_t index = table[tile] * int64_t{args.kv.num_kv_heads} + job.first_head + step.head;
    const int64_t later_index = later_block * args.kv.num_kv_heads + job.first_head + step.later_head;
    visit.k[i] = args.kv.k + index * job.k_bytes;
    visit.v[i] = args.kv.v + index * job.v_bytes;
    visit.later_k[i] = args.kv.k + later_index * job.k_bytes;
    visit.later_v[i] = args.kv.v + later_index * job.v_bytes;
  }
  return visit;
}

// Visits one stripe for all members that see it: each run of members that read the same blocks, and for it each run of
// tiles that have blocks. The runs of tiles depend only on a row's own block table, so its bits depend on nothing else.
void walk_members(const Job& job, const WalkStep& step) {
  int end = 0;
  for (int m = 0; m<job.num_members; m = end> m ? end : m + 1) {
    end = run_of_members(job, m, step.stripe);
    if (end == m) continue;
    TileRange rest = tiles_of(job, m, step.stripe);
    while (true) {
      const TileRange run = next_run_of_tiles(job.member(m).block_table, rest);
      if (run.first >= run.end) break;
      walk_stripe(job, make_visit(job, m, end, step, run));
      rest.first = run.end;
    }
  }
}

// Computes one split over all positions that any row of the job sees.
void walk_split(const Job& job, int64_t split) {
  const Scratch& s = job.scratch;
  const int64_t width = padded(job.args->kv.head_dim);
  for (int row = 0; row < job.num_rows; ++row) {
    s.split_max[row] = kMinusInfinity;
    for (int i = 0; i < kLanes; ++i) s.split_sum[row * kLanes + i] = 0;
    for (int64_t i = 0; i < width; ++i) s.sums[row * width + i] = 0;
  }
  const Positions range = positions_of(job, 0, job.head_rows);
  const int64_t first = larger(split * kSplitPositions, job.first_visible(range.least)) / kStripe;
  const int64_t last = smaller((split + 1) * kSplitPositions - 1, range.most) / kStripe;
  const int64_t num_steps = (last - first + 1) * job.num_heads;
  for (int64_t step = 0; step < num_steps; ++step) {
    const int64_t later = smaller(step + 1, num_steps - 1);
    walk_members(job, {.stripe = first + step / job.num_heads,
                       .head = step % job.num_heads,
                       .later_stripe = first + later / job.num_heads,
                       .later_head = later % job.num_heads});
  }
}

}  // namespace
}  // namespace quire
