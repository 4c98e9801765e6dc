#include "models/planning/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/checked_math.h"

namespace quire {
namespace {

std::string size_text(uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (value >= 1e8) return fmt::format("{:.2f} GiB", value / (1 << 30));
  return fmt::format("{:.2f} MiB", value / (1 << 20));
}

// All but the KV cache.
uint64_t fixed_bytes(const MemoryPlan& plan) {
  return plan.weight_bytes + plan.mapped_bytes + plan.workspace_bytes + plan.sampling_bytes + plan.swap_bytes;
}

std::string advice_for(const PlanInput& input, const RunnerOptions& options, const MemoryPlan& plan) {
  const uint64_t fixed = fixed_bytes(plan);
  const uint64_t left = plan.allowed_bytes - std::min(plan.allowed_bytes, fixed);
  const auto fitting_blocks = static_cast<int64_t>(left / std::max<uint64_t>(1, input.kv.block_bytes()));
  if (fitting_blocks == 0) {
    const uint64_t over = fixed - std::min(fixed, plan.allowed_bytes);
    return fmt::format(
        "weights and workspace alone are {} too much: use a smaller quantisation of the model, fewer batch tokens "
        "(--batch-size), or allow more memory (--memory)",
        size_text(over + input.kv.block_bytes()));
  }
  const int64_t context = fitting_blocks * kKvBlockSize;
  std::string advice;
  if (options.num_blocks > 0) {
    advice = fmt::format("would fit: KV blocks <= {} ({} tokens)", fitting_blocks, context);
  } else {
    advice = fmt::format("would fit: --ctx-size {} (for one sequence at a time)", context);
  }
  KvShape less = input.kv;
  const bool floats = less.k_format == Format::kF32 || less.v_format == Format::kF32;
  less.k_format = less.v_format = floats ? Format::kF16 : Format::kQ8_0;
  if (less.block_bytes() < input.kv.block_bytes()) {
    advice += fmt::format(
        ", or --kv-type {} with {} {}", floats ? "f16" : "q8_0", options.num_blocks > 0 ? "KV blocks <=" : "--ctx-size",
        static_cast<int64_t>(left / less.block_bytes()) * (options.num_blocks > 0 ? 1 : kKvBlockSize));
  }
  return advice;
}

}  // namespace

MemoryPlan plan_memory(const PlanInput& input, const RunnerOptions& options) {
  MemoryPlan plan;
  plan.weight_bytes = input.weight_bytes;
  plan.mapped_bytes = input.mapped_bytes;
  plan.workspace_bytes = input.workspace_bytes;
  plan.sampling_bytes = input.sampling_bytes;
  plan.allowed_bytes = input.allowed_bytes;
  plan.kv_bytes_per_token = input.kv.token_bytes();
  if (input.swap_on_device) plan.swap_bytes = static_cast<uint64_t>(options.num_swap_blocks) * input.kv.block_bytes();

  const uint64_t fixed = fixed_bytes(plan);
  const uint64_t left = plan.allowed_bytes - std::min(plan.allowed_bytes, fixed);
  const int64_t one_sequence = blocks_per_sequence(options.max_context);
  const auto fitting = static_cast<int64_t>(left / input.kv.block_bytes());
  plan.num_blocks = options.num_blocks;
  if (plan.num_blocks == 0) plan.num_blocks = std::clamp(fitting, one_sequence, options.max_sequences * one_sequence);
  constexpr uint64_t kTooMuch = std::numeric_limits<uint64_t>::max();
  plan.kv_bytes = checked_mul(static_cast<uint64_t>(plan.num_blocks), input.kv.block_bytes()).value_or(kTooMuch);
  plan.total_bytes = checked_add(fixed, plan.kv_bytes).value_or(kTooMuch);
  plan.num_ranks = options.tensor_parallel;
  plan.rank_bytes = (plan.total_bytes - plan.mapped_bytes) / static_cast<uint64_t>(plan.num_ranks);
  plan.fits = plan.total_bytes <= plan.allowed_bytes;
  if (!plan.fits) plan.advice = advice_for(input, options, plan);
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
