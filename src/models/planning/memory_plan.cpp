#include "models/planning/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/checked_math.h"

namespace quire {
namespace {

constexpr uint64_t kTooMuch = std::numeric_limits<uint64_t>::max();

uint64_t times(int64_t count, uint64_t bytes) {
  return checked_mul(static_cast<uint64_t>(count), bytes).value_or(kTooMuch);
}
uint64_t plus(uint64_t a, uint64_t b) { return checked_add(a, b).value_or(kTooMuch); }

std::string size_text(uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (value >= 1e8) return fmt::format("{:.2f} GiB", value / (1 << 30));
  return fmt::format("{:.2f} MiB", value / (1 << 20));
}

// What pools are sized for.
struct Demand {
  int64_t num_blocks = 0;     // of a group that keeps everything
  int64_t num_sequences = 1;  // whose windows have room
  int64_t max_context = 0;
  int64_t max_batch_tokens = 0;
};

int64_t pool_blocks(const KvGroup& group, const Demand& demand) {
  if (group.window == 0) return demand.num_blocks;
  const int64_t window = blocks_for(group.window) + 1;  // wherever it begins in a block
  const int64_t running = demand.num_sequences * (window + 1) + blocks_for(demand.max_batch_tokens);
  const int64_t context = blocks_for(demand.max_context);
  const int64_t cached = (demand.num_blocks + context - 1) / context * window;
  return std::min(demand.num_blocks, running + cached);
}

uint64_t pool_bytes(const std::vector<KvGroup>& groups, const Demand& demand) {
  uint64_t bytes = 0;
  for (const KvGroup& group : groups) bytes = plus(bytes, times(pool_blocks(group, demand), group.block_bytes()));
  return bytes;
}

// Host blocks that so many bytes hold, in the proportions of the pools.
int64_t swap_blocks(const RunnerOptions& options, uint64_t kv_bytes, int64_t num_blocks) {
  if (options.num_swap_blocks > 0 || options.swap_bytes == 0) return options.num_swap_blocks;
  const auto count = static_cast<uint64_t>(num_blocks);
  const uint64_t each = kv_bytes / count + (kv_bytes % count == 0 ? 0 : 1);
  return static_cast<int64_t>(options.swap_bytes / std::max<uint64_t>(1, each));
}

std::vector<KvGroupPlan> plan_groups(const std::vector<KvGroup>& groups, const Demand& demand,
                                     int64_t num_swap_blocks) {
  std::vector<KvGroupPlan> plans;
  for (const KvGroup& group : groups) {
    const int64_t blocks = pool_blocks(group, demand);
    const auto share = static_cast<double>(blocks) / static_cast<double>(demand.num_blocks);
    const auto host_blocks = static_cast<int64_t>(static_cast<double>(num_swap_blocks) * share);
    plans.push_back({.num_layers = group.num_layers,
                     .window = group.window,
                     .block_bytes = group.block_bytes(),
                     .num_blocks = blocks,
                     .num_host_blocks = num_swap_blocks > 0 ? std::max<int64_t>(1, host_blocks) : 0,
                     .kv_bytes = times(blocks, group.block_bytes())});
  }
  return plans;
}

uint64_t swap_bytes(const std::vector<KvGroupPlan>& groups) {
  uint64_t bytes = 0;
  for (const KvGroupPlan& group : groups) bytes = plus(bytes, times(group.num_host_blocks, group.block_bytes));
  return bytes;
}

// The largest number for which fits(number) is true; it is for all below. 0 when it is for none from 1 to `most`.
template <typename Fits>
int64_t largest(int64_t most, const Fits& fits) {
  int64_t low = 0;
  while (low < most) {
    const int64_t middle = low + (most - low + 1) / 2;
    fits(middle) ? low = middle : most = middle - 1;
  }
  return low;
}

// One ledger in the making.
class Planner {
 public:
  Planner(const PlanInput& input, const RunnerOptions& options) : input_(input), options_(options) {}

  MemoryPlan plan() const {
    MemoryPlan plan;
    plan.weight_bytes = input_.weight_bytes;
    plan.mapped_bytes = input_.mapped_bytes;
    plan.workspace_bytes = input_.workspace_bytes;
    plan.sampling_bytes = input_.sampling_bytes;
    plan.allowed_bytes = input_.allowed_bytes;
    for (const KvGroup& group : input_.kv) plan.kv_bytes_per_token += group.block_bytes() / kKvBlockSize;
    const Demand demand = choose_demand();
    plan.num_blocks = demand.num_blocks;
    plan.kv_bytes = pool_bytes(input_.kv, demand);
    plan.num_swap_blocks = swap_blocks(options_, plan.kv_bytes, demand.num_blocks);
    plan.kv_groups = plan_groups(input_.kv, demand, plan.num_swap_blocks);
    if (input_.swap_on_device) plan.swap_bytes = swap_bytes(plan.kv_groups);
    plan.total_bytes = plus(plus(fixed_bytes(), plan.swap_bytes), plan.kv_bytes);
    plan.is_of_host = input_.swap_on_device;
    plan.num_ranks = options_.tensor_parallel;
    plan.rank_bytes = (plan.total_bytes - plan.mapped_bytes) / static_cast<uint64_t>(plan.num_ranks);
    plan.fits = plan.total_bytes <= plan.allowed_bytes;
    if (!plan.fits) plan.advice = advice();
    return plan;
  }

 private:
  uint64_t fixed_bytes() const {
    return input_.weight_bytes + input_.mapped_bytes + input_.workspace_bytes + input_.sampling_bytes;
  }
  // What these groups leave in the memory that is allowed.
  uint64_t left_bytes(const std::vector<KvGroup>& groups, const Demand& demand) const {
    uint64_t used = fixed_bytes();
    if (input_.swap_on_device) {
      const int64_t swap = swap_blocks(options_, pool_bytes(groups, demand), demand.num_blocks);
      used = plus(used, swap_bytes(plan_groups(groups, demand, swap)));
    }
    return input_.allowed_bytes - std::min(used, input_.allowed_bytes);
  }
  bool fits(const std::vector<KvGroup>& groups, const Demand& demand) const {
    return pool_bytes(groups, demand) <= left_bytes(groups, demand);
  }

  Demand choose_demand() const {
    const int64_t one = blocks_for(options_.max_context);
    Demand demand{.num_blocks = options_.num_blocks,
                  .num_sequences = options_.max_sequences,
                  .max_context = options_.max_context,
                  .max_batch_tokens = options_.max_batch_tokens};
    if (demand.num_blocks > 0) return demand;
    const auto with = [&](int64_t num_blocks, int64_t num_sequences) {
      Demand changed = demand;
      changed.num_blocks = num_blocks;
      changed.num_sequences = num_sequences;
      return changed;
    };
    // Room for every sequence's window is worth more than longer sequences, but one must fit.
    demand.num_blocks = largest(options_.max_sequences * one,
                                [&](int64_t blocks) { return fits(input_.kv, with(blocks, options_.max_sequences)); });
    if (demand.num_blocks >= one) return demand;
    return with(one, std::max<int64_t>(1, largest(options_.max_sequences, [&](int64_t sequences) {
                                         return fits(input_.kv, with(one, sequences));
                                       })));
  }

  // The most blocks that fit: of a pool of that size, or of one sequence.
  int64_t fitting_blocks(const std::vector<KvGroup>& groups) const {
    constexpr int64_t kMaxBlocks = int64_t{1} << 30;
    return largest(kMaxBlocks, [&](int64_t blocks) {
      const bool is_pool = options_.num_blocks > 0;
      return fits(groups, {.num_blocks = blocks,
                           .num_sequences = is_pool ? options_.max_sequences : 1,
                           .max_context = is_pool ? options_.max_context : blocks * kKvBlockSize,
                           .max_batch_tokens = options_.max_batch_tokens});
    });
  }

  std::string advice() const {
    const int64_t blocks = fitting_blocks(input_.kv);
    if (blocks == 0 || input_.kv.empty()) {
      uint64_t least = fixed_bytes();
      for (const KvGroup& group : input_.kv) least = plus(least, group.block_bytes());
      return fmt::format(
          "weights and workspace alone are {} too much: use a smaller quantisation of the model, fewer batch tokens "
          "(--batch-size), or allow more memory (--memory)",
          size_text(least - std::min(least, input_.allowed_bytes)));
    }
    const bool is_pool = options_.num_blocks > 0;
    std::string advice =
        is_pool ? fmt::format("would fit: KV blocks <= {} ({} tokens)", blocks, blocks * kKvBlockSize)
                : fmt::format("would fit: --ctx-size {} (for one sequence at a time)", blocks * kKvBlockSize);
    std::vector<KvGroup> less = input_.kv;
    const bool floats = less[0].k_format == Format::kF32 || less[0].v_format == Format::kF32;
    for (KvGroup& group : less) group.k_format = group.v_format = floats ? Format::kF16 : Format::kQ8_0;
    if (less[0].block_bytes() < input_.kv[0].block_bytes()) {
      advice +=
          fmt::format(", or --kv-type {} with {} {}", floats ? "f16" : "q8_0", is_pool ? "KV blocks <=" : "--ctx-size",
                      fitting_blocks(less) * (is_pool ? 1 : kKvBlockSize));
    }
    return advice;
  }

  const PlanInput& input_;
  const RunnerOptions& options_;
};

}  // namespace

namespace {

// Whether the weights leave too little for the KV that was asked for, or for any.
bool are_weights_too_large(const PlanInput& input, const RunnerOptions& options) {
  if (options.num_blocks > 0) return true;
  const uint64_t fixed = input.weight_bytes + input.mapped_bytes + input.workspace_bytes + input.sampling_bytes;
  uint64_t sequence_bytes = 0;
  for (const KvGroup& group : input.kv) {
    sequence_bytes = plus(sequence_bytes, times(blocks_for(options.max_context), group.block_bytes()));
  }
  return input.allowed_bytes < plus(fixed, std::min(sequence_bytes, input.allowed_bytes / 8));
}

}  // namespace

MemoryPlan plan_memory(const PlanInput& input, const RunnerOptions& options) { return Planner(input, options).plan(); }

MemoryPlan plan_memory(const PlanInput& input, const RunnerOptions& options, std::optional<StreamPlan>& stream) {
  stream.reset();
  MemoryPlan whole = plan_memory(input, options);
  if (whole.fits || input.sections.empty() || !are_weights_too_large(input, options)) return whole;
  // All but weights.
  PlanInput others = input;
  others.weight_bytes = 0;
  const uint64_t fixed = input.mapped_bytes + input.workspace_bytes + input.sampling_bytes;
  others.allowed_bytes = std::min(input.allowed_bytes, plus(fixed, input.allowed_bytes / 4));
  MemoryPlan plan = plan_memory(others, options);
  if (plan.total_bytes > input.allowed_bytes) return whole;
  stream = plan_stream(input.sections, input.weight_bytes, input.allowed_bytes - plan.total_bytes);
  if (!stream) return whole;
  const uint64_t resident_bytes = input.weight_bytes - stream->streamed_bytes();
  plan.weight_bytes = input.weight_bytes;
  plan.streamed = {.num_layers = stream->num_streamed(),
                   .num_resident_layers = stream->num_layers() - stream->num_streamed(),
                   .bytes = stream->streamed_bytes(),
                   .buffer_bytes = stream->memory_bytes() - resident_bytes};
  plan.total_bytes += stream->memory_bytes();
  plan.rank_bytes = plan.total_bytes - plan.mapped_bytes;
  plan.allowed_bytes = input.allowed_bytes;
  plan.fits = true;
  plan.advice.clear();
  return plan;
}

std::string refusal_text(const std::string& model_name, const MemoryPlan& plan) {
  std::string ranks;
  if (plan.num_ranks > 1) ranks = fmt::format(" ({} for each of {} ranks)", size_text(plan.rank_bytes), plan.num_ranks);
  return fmt::format(
      "{} does not fit: it needs {}{}, allowed are {}\n"
      "  weights {} + embedding {} + workspace {} + sampling {}\n"
      "  KV cache {} ({} blocks of {} tokens, {} bytes a token)\n"
      "  {}",
      model_name, size_text(plan.total_bytes), ranks, size_text(plan.allowed_bytes), size_text(plan.weight_bytes),
      size_text(plan.mapped_bytes), size_text(plan.workspace_bytes), size_text(plan.sampling_bytes),
      size_text(plan.kv_bytes), plan.num_blocks, kKvBlockSize, plan.kv_bytes_per_token, plan.advice);
}

}  // namespace quire
