// The softmax of a stripe of positions (attention_stripe.h): scores become weights, for V in floats or for V in codes.
#pragma once

#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/attention_job.h"
#include "kernels/vector/math.h"

namespace quire {
namespace {

// Rows of a visit whose sums share registers.
struct RowTile {
  int first;
  int rows;
  int first_tile;  // some row sees positions of tiles [first_tile, end_tile) of the stripe
  int end_tile;
  int num_positions;  // in these tiles, up to the last one that some row sees
  float* weights;     // [rows, kLeftStride]: scores of the stripe, then softmax weights; behind them those of 16 bits
};

// What apply_softmax computes for each row, besides the weights.
struct Softmax {
  alignas(64) float shrink[kLanes];  // the factor for the row's sums so far
  alignas(64) float top[kLanes];     // the largest weight
  alignas(64) float unit[kLanes];    // 1 / top when V is quantised: the weights are then stored as fractions of top
  int low[kLanes];                   // the row sees positions [low, high) of the stripe
  int high[kLanes];
};

// Replaces scores by 2^(score - max), which is 0 at positions that the row does not see. Updates the max and the sum of
// the rows.
void apply_softmax(const Job& job, int64_t stripe, const RowTile& t, Softmax& out) {
  const AttentionArgs& args = *job.args;
  const bool whole_k = is_quantised(args.kv.k_format);
  const bool whole_v = is_quantised(args.kv.v_format);
  const float scale_back = args.softcap > 0 ? args.softcap * kLog2e : 0;
  const int begin = t.first_tile * kTile;
  const int end = t.end_tile * kTile;
  alignas(64) float base[kLanes] = {};
  for (int r = 0; r < kLanes; ++r) out.shrink[r] = out.top[r] = 0;
  for (int r = 0; r < t.rows; ++r) {
    float* scores = t.weights + r * kLeftStride;
    const int64_t position = job.scratch.position[t.first + r];
    const int low = static_cast<int>(smaller(kStripe, larger(0, job.first_visible(position) - stripe * kStripe)));
    const int high = static_cast<int>(smaller(kStripe, larger(0, position + 1 - stripe * kStripe)));
    const bool part = low > begin || high < end;
    Vec best = set1(kMinusInfinity);
    for (int i = begin; i < end; i += kLanes) {
      Vec s = load(scores + i);
      if (whole_k) s = mul(s, set1(job.scratch.q_scale[t.first + r]));
      if (scale_back > 0) s = mul(set1(scale_back), tanh(div(s, set1(args.softcap))));
      if (part) s = keep_lanes(s, low - i, high - i, set1(kMinusInfinity));
      if (whole_k || part || scale_back > 0) store(scores + i, s);
      best = max(s, best);
    }
    float& row_max = job.scratch.split_max[t.first + r];
    const float stripe_max = max_lanes(best);
    const float new_max = stripe_max > row_max ? stripe_max : row_max;
    base[r] = new_max == kMinusInfinity ? 0 : new_max;  // (-inf) - (-inf) would be NaN
    out.shrink[r] = row_max;
    out.top[r] = stripe_max;
    out.low[r] = low;
    out.high[r] = high;
    row_max = new_max;
  }
  store(out.shrink, exp2_nonpositive(sub(load(out.shrink), load(base))));
  if (whole_v) {
    store(out.top, exp2_nonpositive(sub(load(out.top), load(base))));
    store(out.unit, div(set1(1.0f), load(out.top)));
  }
  for (int r = 0; r < t.rows; ++r) {
    float* weights = t.weights + r * kLeftStride;
    float* row_sum = job.scratch.split_sum + (t.first + r) * kLanes;
    Vec sum = mul(load(row_sum), set1(out.shrink[r]));
    for (int i = begin; i < end; i += kLanes) {
      const Vec weight = exp2_nonpositive(sub(load(weights + i), set1(base[r])));
      sum = add(sum, weight);
      store(weights + i, whole_v ? mul(weight, set1(out.unit[r])) : weight);
    }
    store(row_sum, sum);
  }
}

// Multiplies the weights by V scales, those of each tile of the row tile, and stores them as 16-bit integers after the
// weights of the row; `factor` is the scale of these integers, by row. Only the V scales of positions that the row sees
// count; otherwise its bits would depend on tokens written after it. A row that sees no position, or only zeros, gets
// the factor 0, whatever its integers are.
void quantise_weights(const uint16_t* const* scales, const RowTile& t, const Softmax& softmax, float* factor) {
  const int begin = t.first_tile * kTile;
  const int end = t.end_tile * kTile;
  alignas(64) float fractions[kStripe];
  float widest = 0;
  for (int r = 0; r < t.rows; ++r) {
    const int low = softmax.low[r];
    const int high = softmax.high[r];
    if (r == 0 || low != softmax.low[r - 1] || high != softmax.high[r - 1]) {
      Vec most = set1(0), bad = set1(0);
      for (int i = begin; i < end; i += kLanes) {
        const Vec scale = load_f16(scales[i / kTile - t.first_tile] + i % kTile);
        const Vec seen = keep_lanes(scale, low - i, high - i, set1(0));
        most = max(abs(seen), most);
        bad = fma(seen, set1(0), bad);  // becomes NaN when a scale is an infinity or a NaN
        store(fractions + i, seen);
      }
      widest = max_lanes(most) + sum_lanes(bad);
      const Vec inverse = set1(kMaxInt16 / widest);
      for (int i = begin; i < end; i += kLanes) store(fractions + i, mul(load(fractions + i), inverse));
    }
    float* weights = t.weights + r * kLeftStride;
    auto* words = reinterpret_cast<int16_t*>(weights + kStripe);
    for (int i = begin; i < end; i += kLanes) store_i16(words + i, mul(load(weights + i), load(fractions + i)));
    factor[r] = softmax.top[r] * (widest * (1.0f / kMaxInt16));
  }
}

}  // namespace
}  // namespace quire
