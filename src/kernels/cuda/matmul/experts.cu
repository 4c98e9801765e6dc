// Gathering by lists, routing of rows to experts, and adding the experts' outputs.
#include "base/check.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/rows/row_parts.h"

namespace quire {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxChoices = kWarpSize;  // per row: a lane has one

// ---- gathering ------------------------------------------------------------------------------------------------------

// Copies words of row_bytes / sizeof(Word); block (i, part).
template <typename Word>
__global__ void __launch_bounds__(kThreads)
    gather_words(const Word* from, int64_t row_words, const int32_t* rows, Word* to) {
  const int64_t word = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  if (word >= row_words) return;
  to[blockIdx.x * row_words + word] = from[rows[blockIdx.x] * row_words + word];
}

template <typename Word>
void launch_gather(const Exec& exec, const void* from, size_t row_bytes, const int32_t* rows, int64_t num_rows,
                   void* to) {
  const auto words = static_cast<int64_t>(row_bytes / sizeof(Word));
  const dim3 grid(static_cast<unsigned>(num_rows), static_cast<unsigned>(ceil_div(words, kThreads)));
  launch(gather_words<Word>, grid, kThreads, 0, gpu_stream(exec), static_cast<const Word*>(from), words, rows,
         static_cast<Word*>(to));
}

void gather_rows(const Exec& exec, const std::byte* from, size_t row_bytes, const int32_t* rows, int64_t num_rows,
                 std::byte* to) {
  const auto stride = static_cast<int64_t>(row_bytes / sizeof(float));
  if (in_fours(from, stride) && in_fours(to, stride)) {
    launch_gather<uint4>(exec, from, row_bytes, rows, num_rows, to);
  } else {
    launch_gather<uint32_t>(exec, from, row_bytes, rows, num_rows, to);
  }
}

// ---- routing --------------------------------------------------------------------------------------------------------

struct Choice {
  float probability;
  int expert;
};

// The larger probability comes first, among equals the lower number; NaN comes after all numbers, taken ones (-1) last.
__device__ __forceinline__ bool before(Choice a, Choice b) {
  const float x = isnan(a.probability) ? -0.5f : a.probability;
  const float y = isnan(b.probability) ? -0.5f : b.probability;
  return x > y || (x == y && a.expert < b.expert);
}

constexpr float kTaken = -1.0f;

// Finds the best remaining probability of a row; every lane gets it, and its owner marks it as taken.
__device__ __forceinline__ Choice take_best(float* probabilities, int num_experts, int lane) {
  Choice best{kTaken, num_experts};
  for (int e = lane; e < num_experts; e += kWarpSize) {
    const Choice other{probabilities[e], e};
    if (before(other, best)) best = other;
  }
  for (int lanes = 1; lanes < kWarpSize; lanes *= 2) {
    const Choice other{__shfl_xor_sync(kAllLanes, best.probability, lanes),
                       __shfl_xor_sync(kAllLanes, best.expert, lanes)};
    if (before(other, best)) best = other;
  }
  if (best.expert % kWarpSize == lane) probabilities[best.expert] = kTaken;
  return best;
}

// A warp chooses the experts of a row and stores them, ascending, in the first per_row words of the row's logits.
__global__ void __launch_bounds__(kThreads)
    choose_experts(const Routing routing, float* logits, int64_t num_rows, float* weights) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarpSize) + threadIdx.y;
  if (row >= num_rows) return;  // whole warps
  const int lane = static_cast<int>(threadIdx.x);
  const int n = routing.num_experts;
  float* const p = logits + row * n;

  float largest = -INFINITY;
  for (int e = lane; e < n; e += kWarpSize) largest = fmaxf(largest, p[e]);
  largest = warp_max(largest);
  float sum = 0.0f;
  for (int e = lane; e < n; e += kWarpSize) {
    p[e] = expf(p[e] - largest);
    sum += p[e];
  }
  sum = warp_sum(sum);
  for (int e = lane; e < n; e += kWarpSize) p[e] /= sum;

  Choice mine{0.0f, 0};
  float chosen = 0.0f;
  for (int j = 0; j < routing.per_row; ++j) {
    const Choice best = take_best(p, n, lane);
    chosen += best.probability;
    if (lane == j) mine = best;
  }
  int place = 0;  // the index among the row's choices, in ascending order of experts
  for (int j = 0; j < routing.per_row; ++j) {
    place += __shfl_sync(kAllLanes, mine.expert, j) < mine.expert ? 1 : 0;
  }
  __syncwarp();
  if (lane >= routing.per_row) return;
  reinterpret_cast<int32_t*>(p)[place] = mine.expert;
  weights[row * routing.per_row + place] = routing.normalize ? mine.probability / chosen : mine.probability;
}

// The sum over the block's threads before this one; `total` is the sum over all. All threads must call it together.
__device__ __forceinline__ int count_before(bool counts, int& total) {
  __shared__ int counted[kThreads / kWarpSize];
  const unsigned lane = threadIdx.x % kWarpSize;
  const unsigned warp = threadIdx.x / kWarpSize;
  const unsigned votes = __ballot_sync(kAllLanes, counts ? 1 : 0);
  __syncthreads();  // the counts of the previous call have been read
  if (lane == 0) counted[warp] = __popc(votes);
  __syncthreads();
  int sum = __popc(votes & ((1u << lane) - 1));
  total = 0;
  for (unsigned w = 0; w < kThreads / kWarpSize; ++w) {
    if (w == warp) sum += total;
    total += counted[w];
  }
  return sum;
}

__device__ __forceinline__ int block_count(int count) {
  __shared__ int counts[kThreads / kWarpSize];
  count = warp_sum(count);
  if (threadIdx.x % kWarpSize == 0) counts[threadIdx.x / kWarpSize] = count;
  __syncthreads();
  int sum = 0;
  for (int warp = 0; warp < kThreads / kWarpSize; ++warp) sum += counts[warp];
  return sum;
}

// Block e assigns the places of expert e: after those of all experts before it, in order of rows. It reads every row's
// choices, which choose_experts stored in `logits`; blocks are independent.
__global__ void __launch_bounds__(kThreads)
    sort_by_expert(const Routing routing, const float* logits, int64_t num_rows, const ExpertAssignments out) {
  const auto expert = static_cast<int>(blockIdx.x);
  const auto choices_of = [&](int64_t row) {
    return reinterpret_cast<const int32_t*>(logits + row * routing.num_experts);
  };
  int smaller = 0;
  for (int64_t row = threadIdx.x; row < num_rows; row += kThreads) {
    for (int j = 0; j < routing.per_row; ++j) smaller += choices_of(row)[j] < expert ? 1 : 0;
  }
  int next = block_count(smaller);
  if (threadIdx.x == 0) {
    out.first[expert] = next;
    if (expert == 0) out.first[routing.num_experts] = static_cast<int32_t>(num_rows * routing.per_row);
  }
  for (int64_t base = 0; base < num_rows; base += kThreads) {
    const int64_t row = base + threadIdx.x;
    int choice = -1;
    for (int j = 0; row < num_rows && j < routing.per_row; ++j) {
      if (choices_of(row)[j] == expert) choice = j;
    }
    int total = 0;
    const int assignment = next + count_before(choice >= 0, total);
    next += total;
    if (choice < 0) continue;
    out.assignments[row * routing.per_row + choice] = assignment;
    out.rows[assignment] = static_cast<int32_t>(row);
  }
}

void route_experts(const Exec& exec, const Routing& routing, float* logits, int64_t num_rows,
                   const ExpertAssignments& out) {
  CHECK(routing.per_row <= kMaxChoices && routing.per_row <= routing.num_experts);
  const dim3 block(kWarpSize, kThreads / kWarpSize);
  launch(choose_experts, static_cast<unsigned>(ceil_div(num_rows, block.y)), block, 0, gpu_stream(exec), routing,
         logits, num_rows, out.weights);
  launch(sort_by_expert, static_cast<unsigned>(routing.num_experts), kThreads, 0, gpu_stream(exec), routing, logits,
         num_rows, out);
}

// ---- adding the experts' outputs ------------------------------------------------------------------------------------

// Each thread computes four columns of a row.
__global__ void __launch_bounds__(kThreads)
    add_experts(const ExpertRows experts, int64_t dim, Fours from_fours, Fours y_fours, float* y) {
  const int64_t row = blockIdx.x;
  const int64_t first = 4 * (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x);
  if (first >= dim) return;
  float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (experts.first != 0) sum = load_four(y + row * dim, first, y_fours);
  for (int64_t j = row * experts.per_row; j < (row + 1) * experts.per_row; ++j) {
    const int32_t assignment = experts.assignments[j];
    if (assignment < experts.first || assignment >= experts.last) continue;
    const float4 from = load_four(experts.from + (assignment - experts.first) * dim, first, from_fours);
    sum = add(sum, multiply(experts.weights[j], from));
  }
  store_four(y + row * dim, first, y_fours, sum);
}

void add_expert_rows(const Exec& exec, const ExpertRows& experts, int64_t num_rows, int64_t dim, float* y) {
  const dim3 grid(static_cast<unsigned>(num_rows), static_cast<unsigned>(ceil_div(dim, 4 * kThreads)));
  launch(add_experts, grid, kThreads, 0, gpu_stream(exec), experts, dim, Fours{dim, in_fours(experts.from, dim)},
         Fours{dim, in_fours(y, dim)}, y);
}

}  // namespace

void fill_experts_cuda(Kernels& table) {
  table.gather_rows = gather_rows;
  table.route_experts = route_experts;
  table.add_expert_rows = add_expert_rows;
}

}  // namespace quire
