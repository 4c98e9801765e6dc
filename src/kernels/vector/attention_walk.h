// The positions of an attention job, stripe by stripe and run by run. See attention_job.h for what a job is and math.h
// for how files of this folder are used.
#pragma once

namespace quire {
namespace {

// Tiles [first, end) of the stripe that some row of the member sees.
struct TileRange {
  int64_t first;
  int64_t end;
};
inline TileRange tiles_of(const Job& job, int m, int64_t stripe) {
  return {larger(stripe * kStripeTiles, job.first_tile(m)), smaller((stripe + 1) * kStripeTiles, job.last_tile(m) + 1)};
}

// The members from m on that read the same blocks as m in this stripe; none when m itself sees nothing there.
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

Visit make_visit(const Job& job, int m, int end, int64_t stripe, int64_t head, int64_t later_stripe,
                 int64_t later_head) {
  const AttentionArgs& args = *job.args;
  const TileRange range = tiles_of(job, m, stripe);
  const int32_t* table = job.member(m).block_table;
  Visit visit;
  visit.stripe = stripe;
  visit.first = static_cast<int>(head * job.head_rows + job.scratch.member_begin[m]);
  visit.end = static_cast<int>(head * job.head_rows + job.scratch.member_begin[end]);
  for (int64_t tile = range.first; tile < range.end; ++tile) {
    const int64_t i = tile % kStripeTiles;
    const int64_t later = smaller(later_stripe * kStripeTiles + i, job.last_tile(m));
    const int64_t index = table[tile] * int64_t{args.kv.num_kv_heads} + job.first_head + head;
    const int64_t later_index = table[later] * int64_t{args.kv.num_kv_heads} + job.first_head + later_head;
    visit.k[i] = args.kv.k + index * job.k_bytes;
    visit.v[i] = args.kv.v + index * job.v_bytes;
    visit.later_k[i] = args.kv.k + later_index * job.k_bytes;
    visit.later_v[i] = args.kv.v + later_index * job.v_bytes;
  }
  return visit;
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
  const Positions range = positions_of(job, 0, job.head_rows);
  const int64_t first = larger(split * kSplitPositions, job.first_visible(range.least)) / kStripe;
  const int64_t last = smaller((split + 1) * kSplitPositions - 1, range.most) / kStripe;
  const int64_t num_steps = (last - first + 1) * job.num_heads;
  for (int64_t step = 0; step < num_steps; ++step) {
    const int64_t stripe = first + step / job.num_heads;
    const int64_t later = smaller(step + 1, num_steps - 1);
    int end = 0;
    for (int m = 0; m<job.num_members; m = end> m ? end : m + 1) {
      end = run_of_members(job, m, stripe);
      if (end == m) continue;
      walk_stripe(job, make_visit(job, m, end, stripe, step % job.num_heads, first + later / job.num_heads,
                                  later % job.num_heads));
    }
  }
}

}  // namespace
}  // namespace quire
