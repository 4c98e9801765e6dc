#include "kernels/cuda/rows/sampling.h"

#include "kernels/cuda/device/gpu.h"

namespace quire {
namespace {

using Mass = unsigned long long;  // probability relative to the likeliest token's, in units of 2^-42

constexpr int kWarps = 32;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kBins = 2048;
constexpr int kWarpBins = kBins / kWarps;
constexpr int kLevels = 3;
constexpr float kMassUnits = 0x1p42f;
constexpr float kNothing = -INFINITY;

struct Histogram {
  Mass masses[kBins];
  unsigned counts[kBins];
};

// Shared memory of a block, which chooses the token of one row.
struct Shared {
  Histogram all;     // all tokens, by the first digit of the key
  Histogram inside;  // tokens with equal leading digits, by the next digit
  Mass totals[kWarps];
  int32_t token;
};

struct Row {
  const float* logits;
  int size;
  float top;
  float scale;  // 1 / temperature
};

// Descending logits have ascending keys; -0 and +0 have the same key.
__device__ __forceinline__ unsigned key_of(float logit) {
  const unsigned bits = __float_as_uint(logit + 0.0f);
  return bits >> 31 != 0 ? bits : ~bits & 0x7fffffffu;
}
__device__ __forceinline__ float logit_of(unsigned key) {
  return __uint_as_float(key >> 31 != 0 ? key : ~key & 0x7fffffffu);
}

// e^x for x <= 0, with exactly the operations of decoding/sampler.cpp, so that both draw from the same probabilities.
__device__ __forceinline__ float exp_of_negative(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693145752f;
  constexpr float kLn2Low = 1.42860677e-6f;
  const float bounded = x < -87.0f ? -87.0f : x;
  const int n = static_cast<int>(bounded * kLog2E - 0.5f);
  const float r = (bounded - static_cast<float>(n) * kLn2High) - static_cast<float>(n) * kLn2Low;
  const float p =
      1.0f +
      r * (1.0f + r * (0.5f + r * (0.166666671f + r * (0.0416666716f + r * (0.00833333377f + r * 0.00138888892f)))));
  return x < -87.0f ? 0.0f : p * __int_as_float((n + 127) << 23);
}
__device__ __forceinline__ float probability(const Row& row, float logit) {
  return exp_of_negative((logit - row.top) * row.scale);
}
__device__ __forceinline__ Mass mass_of(const Row& row, float logit) {
  return static_cast<Mass>(probability(row, logit) * kMassUnits);
}

__device__ __forceinline__ Mass lesser(Mass a, Mass b) { return a < b ? a : b; }
__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x) % kWarpSize; }
__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x) / kWarpSize; }

__device__ __forceinline__ Mass sum_up_to_lane(Mass value) {
  for (int step = 1; step < kWarpSize; step *= 2) {
    const Mass below = __shfl_up_sync(kAllLanes, value, static_cast<unsigned>(step));
    if (lane_index() >= step) value += below;
  }
  return value;
}

// Gives all threads one value of every warp.
__device__ __forceinline__ void share(Shared& shared, Mass value) {
  __syncthreads();
  if (lane_index() == 0) shared.totals[warp_index()] = value;
  __syncthreads();
}

// Finds the first of 32 values, one per lane, at which the running sum exceeds `rest`; 32 if there is none. Subtracts
// the sum of the values before it from `rest`. All lanes of a warp get the same result.
__device__ __forceinline__ int pass(Mass value, Mass& rest) {
  const Mass through = sum_up_to_lane(value);
  const unsigned beyond = __ballot_sync(kAllLanes, through > rest);
  const int place = beyond == 0 ? kWarpSize : __ffs(static_cast<int>(beyond)) - 1;
  const Mass before = place == 0 ? 0 : __shfl_sync(kAllLanes, through, (place - 1) % kWarpSize);
  rest -= before;
  return place;
}

// The sum of weigh(logit) over the row; all threads get it.
template <typename Weigh>
__device__ Mass sum_row(Shared& shared, const Row& row, const Weigh& weigh) {
  Mass sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < row.size; i += kThreads) sum += weigh(row.logits[i]);
  share(shared, warp_sum(sum));
  return warp_sum(shared.totals[lane_index()]);
}

// The token at which the running sum of weigh(logit), in order of ids, exceeds the target.
template <typename Weigh>
__device__ int32_t pick_in_order(Shared& shared, const Row& row, Mass target, const Weigh& weigh) {
  const int part = (row.size + kThreads - 1) / kThreads * kWarpSize;  // tokens of a warp
  const int begin = warp_index() * part;
  const int end = min(begin + part, row.size);
  Mass sum = 0;
  for (int i = begin + lane_index(); i < end; i += kWarpSize) sum += weigh(row.logits[i]);
  share(shared, warp_sum(sum));
  Mass rest = target;
  const int owner = pass(shared.totals[lane_index()], rest);
  if (warp_index() == owner) {
    for (int i = begin; i < end; i += kWarpSize) {
      const int place = pass(i + lane_index() < end ? weigh(row.logits[i + lane_index()]) : 0, rest);
      if (place == kWarpSize) continue;
      if (lane_index() == 0) shared.token = i + place;
      break;
    }
  }
  __syncthreads();
  return shared.token;
}

// The digits of a key from the most significant: 11, 11 and 10 bits.
__device__ __forceinline__ int digit_shift(int level) { return level == 0 ? 21 : level == 1 ? 10 : 0; }

// The histogram, by the next digit, of tokens whose key begins with `prefix` (all digits before `level`).
__device__ void count_digits(Histogram& bins, const Row& row, int level, unsigned prefix) {
  for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kThreads) {
    bins.masses[i] = 0;
    bins.counts[i] = 0;
  }
  __syncthreads();
  const int shift = digit_shift(level);
  for (int i = static_cast<int>(threadIdx.x); i < row.size; i += kThreads) {
    const float logit = row.logits[i];
    const unsigned key = key_of(logit);
    if (level > 0 && key >> digit_shift(level - 1) != prefix) continue;
    const unsigned digit = (key >> shift) % (level == 2 ? kBins / 2 : kBins);
    atomicAdd(&bins.counts[digit], 1u);
    atomicAdd(&bins.masses[digit], mass_of(row, logit));
  }
  __syncthreads();
}

struct Found {
  unsigned key;
  Mass rest;  // the target minus the sum over all likelier tokens
};

// The key at which the running sum over tokens, in descending order of logits, exceeds the target.
// bin_weight(histogram, bin) is the mass or the number of the tokens in a bin; shared.all must be filled.
template <typename BinWeight>
__device__ Found find(Shared& shared, const Row& row, Mass target, const BinWeight& bin_weight) {
  Found found = {0, target};
  for (int level = 0; level < kLevels; ++level) {
    if (level > 0) count_digits(shared.inside, row, level, found.key);
    const Histogram& bins = level == 0 ? shared.all : shared.inside;
    const int mine = warp_index() * kWarpBins + lane_index();
    share(shared, warp_sum(bin_weight(bins, mine) + bin_weight(bins, mine + kWarpSize)));
    const int owner = pass(shared.totals[lane_index()], found.rest);
    int bin = owner * kWarpBins;
    const int place = pass(bin_weight(bins, bin + lane_index()), found.rest);
    bin += place;
    if (place == kWarpSize) bin += pass(bin_weight(bins, bin + lane_index()), found.rest);
    found.key = found.key << (level == 2 ? 10 : 11) | static_cast<unsigned>(bin);
    __syncthreads();
  }
  return found;
}

// The mass of the tokens that remain after top-k, top-p and min-p; `total` is the mass of all. Each filter keeps a
// prefix of the same order, so the smallest of the three masses is that of the tokens which all of them keep.
__device__ Mass kept_mass(Shared& shared, const Row& row, const SamplingRow& settings, Mass total) {
  const auto mass = [](const Histogram& bins, int bin) -> Mass { return bins.masses[bin]; };
  const auto count = [](const Histogram& bins, int bin) -> Mass { return bins.counts[bin]; };
  if (settings.top_k > 0 && settings.top_k < row.size) {
    const Found last = find(shared, row, static_cast<Mass>(settings.top_k) - 1, count);
    const Mass likelier =
        sum_row(shared, row, [&](float x) -> Mass { return key_of(x) < last.key ? mass_of(row, x) : 0; });
    total = likelier + (last.rest + 1) * mass_of(row, logit_of(last.key));
  }
  Mass kept = total;
  if (settings.top_p < 1.0f) {
    const double wanted = static_cast<double>(settings.top_p) * static_cast<double>(total);
    Mass target = static_cast<Mass>(wanted);
    if (static_cast<double>(target) == wanted && target > 0) --target;  // a sum equal to `wanted` is enough
    if (target < total) {
      const Found last = find(shared, row, target, mass);
      const Mass each = mass_of(row, logit_of(last.key));
      kept = lesser(kept, target - last.rest + (last.rest / each + 1) * each);
    }
  }
  if (settings.min_p > 0.0f) {
    const Mass likely = sum_row(
        shared, row, [&](float x) -> Mass { return probability(row, x) >= settings.min_p ? mass_of(row, x) : 0; });
    kept = lesser(kept, likely);
  }
  return kept;
}

__device__ __forceinline__ Mass draw_target(double random, Mass mass) {
  const auto target = static_cast<Mass>(random * static_cast<double>(mass));
  return target < mass ? target : mass - 1;
}

__device__ int32_t draw(Shared& shared, const Row& row, const SamplingRow& settings) {
  const auto mass = [&](float x) { return mass_of(row, x); };
  const Mass total = sum_row(shared, row, mass);
  const bool filtered =
      (settings.top_k > 0 && settings.top_k < row.size) || settings.top_p < 1.0f || settings.min_p > 0.0f;
  if (!filtered) return pick_in_order(shared, row, draw_target(settings.random, total), mass);
  count_digits(shared.all, row, 0, 0);
  const Mass target = draw_target(settings.random, kept_mass(shared, row, settings, total));
  const Found found =
      find(shared, row, target, [](const Histogram& bins, int bin) -> Mass { return bins.masses[bin]; });
  const Mass among_equals = found.rest / mass_of(row, logit_of(found.key));
  return pick_in_order(shared, row, among_equals, [&](float x) -> Mass { return key_of(x) == found.key ? 1 : 0; });
}

// The likeliest token (the lowest id of several) with its key in the upper half; ~0 when a logit is NaN or +infinity.
__device__ Mass likeliest(Shared& shared, const float* logits, int size) {
  Mass best = ~Mass{0} - 1;
  bool bad = false;
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads) {
    bad = bad || !(logits[i] < INFINITY);
    best = lesser(best, Mass{key_of(logits[i])} << 32 | static_cast<unsigned>(i));
  }
  if (__any_sync(kAllLanes, bad)) best = ~Mass{0};
  const auto worse = [](Mass a, Mass b) -> Mass { return a == ~Mass{0} || b == ~Mass{0} ? ~Mass{0} : lesser(a, b); };
  share(shared, over_lanes(best, worse));
  return over_lanes(shared.totals[lane_index()], worse);
}

// grid: rows.
__global__ void __launch_bounds__(kThreads, 1)
    sample_row(const float* logits, int vocab_size, const SamplingRow* rows, int32_t* tokens) {
  GPU_DYNAMIC_SHARED(Shared, memory);
  Shared& shared = *memory;
  const SamplingRow settings = rows[blockIdx.x];
  Row row = {logits + int64_t{blockIdx.x} * vocab_size, vocab_size, 0.0f, 0.0f};
  const Mass best = likeliest(shared, row.logits, row.size);
  row.top = logit_of(static_cast<unsigned>(best >> 32));
  int32_t token = static_cast<int32_t>(best & 0xffffffffu);
  if (best == ~Mass{0} || row.top == kNothing) {
    token = -1;
  } else if (settings.temperature != 0.0f) {
    row.scale = 1.0f / settings.temperature;
    token = draw(shared, row, settings);
  }
  if (threadIdx.x == 0) tokens[blockIdx.x] = token;
}

}  // namespace

void sample_rows(const Exec& exec, const float* logits, int64_t num_rows, int vocab_size, const SamplingRow* rows,
                 int32_t* tokens) {
  launch(sample_row, dim3(static_cast<unsigned>(num_rows)), dim3(kThreads), sizeof(Shared), gpu_stream(exec), logits,
         vocab_size, rows, tokens);
}

}  // namespace quire
