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

// Heads [first, first + count) of a job in a stripe.
struct HeadGroup {
  int64_t stripe;
  int first;
  int count;
};

// The visits of heads [first, first + count) to one run of tiles: later tiles are those that follow when tile by tile
// all these heads are read, and after them the heads [next_first, ...) of this run or of a later stripe.
void set_visits_abreast(const Job& job, const HeadGroup& group, TileRange run, HeadInStripe* heads) {
  const AttentionArgs& args = *job.args;
  const int32_t* table = job.member(0).block_table;
  const bool is_last = group.first + group.count == job.num_heads;
  const auto place = [&](int64_t tile, int64_t head) {
    return table[tile] * int64_t{args.kv.num_kv_heads} + job.first_head + head;
  };
  for (int i = 0; i < group.count; ++i) {
    const int64_t head = group.first + i;
    const int next_head = i + 1 < group.count ? i + 1 : 0;
    Visit& visit = heads[i].visit;
    visit = make_visit(
        job, 0, 1, {.stripe = group.stripe, .head = head, .later_stripe = group.stripe + 1, .later_head = head}, run);
    for (int64_t tile = run.first; tile < run.end; ++tile) {
      int64_t later_tile = next_head > 0 ? tile : tile + 1;
      int64_t later_head = group.first + next_head;
      if (later_tile == run.end) {
        later_head = is_last ? 0 : group.first + group.count;
        later_tile = is_last ? smaller(run.end, job.last_tile(0)) : run.first;
      }
      if (table[later_tile] == kNoBlock) later_tile = tile;
      visit.later_k[tile % kStripeTiles] = args.kv.k + place(later_tile, later_head) * job.k_bytes;
      if (!is_quantised(args.kv.v_format)) {
        visit.later_v[tile % kStripeTiles] = args.kv.v + place(later_tile, later_head) * job.v_bytes;
      }
    }
  }
}

// Visits one stripe with all heads of the only member.
void walk_heads(const Job& job, int64_t stripe) {
  HeadInStripe heads[kHeadsAbreast];
  TileRange rest = tiles_of(job, 0, stripe);
  while (true) {
    const TileRange run = next_run_of_tiles(job.member(0).block_table, rest);
    if (run.first >= run.end) return;
    for (int first = 0; first < job.num_heads; first += kHeadsAbreast) {
      const int count = static_cast<int>(smaller(kHeadsAbreast, job.num_heads - first));
      set_visits_abreast(job, {.stripe = stripe, .first = first, .count = count}, run, heads);
      walk_heads_abreast(job, heads, count);
    }
    rest.first = run.end;
  }
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
  if (reads_heads_abreast(job)) {
    for (int64_t stripe = first; stripe <= last; ++stripe) walk_heads(job, stripe);
    return;
  }
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
