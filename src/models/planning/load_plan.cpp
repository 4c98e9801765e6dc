#include "models/planning/load_plan.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "base/cgroup.h"
#include "base/error.h"
#include "base/log.h"
#include "models/architectures/registry.h"
#include "models/loading/weight_loader.h"
#include "models/planning/memory_plan.h"
#include "models/step_arrays.h"
#include "parallel/rank_threads.h"

namespace quire {
namespace {

// Share of the free memory that may be used; the rest is left to the process itself and to others.
constexpr double kMemoryMargin = 0.95;

void check_option(const char* option, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) {
    fail(ErrorCode::kInvalidArgument, "{} is {}, expected {} to {}", option, value, least, most);
  }
}

void check_kv_format(const char* option, Format format) {
  if (k_tile_bytes(format, kKvGroup) > 0) return;
  fail(ErrorCode::kUnsupported, "{} {} is unknown; this build keeps KV as F32, F16, BF16, F8_E4M3, Q8_0 or Q4_0",
       option, weight_format(format).name);
}

void check_tapped_layers(const std::vector<int>& layers, const ModelInfo& info) {
  const bool ascend = std::ranges::adjacent_find(layers, std::greater_equal()) == layers.end();
  if (layers.empty() || (ascend && layers.front() >= 0 && layers.back() < info.num_layers)) return;
  fail(ErrorCode::kInvalidArgument, "the tapped layers are {}, expected ascending numbers from 0 to {}",
       fmt::join(layers, ", "), info.num_layers - 1);
}

// Replaces every 0 by the default it stands for, except num_blocks: plan_memory chooses that.
RunnerOptions resolve(RunnerOptions options, const ModelInfo& info, const Kernels& kernels) {
  check_option("the number of threads", options.num_threads, 0, 1024);
  check_option("the tokens of a batch", options.max_batch_tokens, 1, int64_t{1} << 20);
  check_option("the sequences of a batch", options.max_sequences, 1, 65535);  // a grid of CUDA blocks has no more
  check_option("the branches of a batch", options.max_branches, 0, 65535 - options.max_sequences);
  check_option("the context", options.max_context, 0, int64_t{1} << 27);
  check_option("the number of KV blocks", options.num_blocks, 0, int64_t{1} << 30);
  check_option("the number of swap blocks", options.num_swap_blocks, 0, int64_t{1} << 30);
  check_kv_format("K type", options.k_format);
  check_kv_format("V type", options.v_format);
  if (options.num_threads == 0) options.num_threads = threads_of_choice(options.processors, available_processors());
  if (options.max_context == 0) options.max_context = info.max_context;
  if (options.max_logit_rows == 0) options.max_logit_rows = options.max_batch_tokens;
  check_option("the rows with logits", options.max_logit_rows, 1, options.max_batch_tokens);
  if (options.max_hidden_rows == 0) options.max_hidden_rows = options.max_logit_rows;
  check_option("the rows with hidden states", options.max_hidden_rows, 1, options.max_batch_tokens);
  check_tapped_layers(options.tapped_layers, info);
  options.isa = kernels.name;
  return options;
}

KvLayout kv_layout_of(const ModelInfo& info, const RunnerOptions& options, int num_ranks) {
  return make_kv_layout(info.kv_layers, {.max_context = options.keep_all_positions ? 0 : options.max_context,
                                         .k_format = options.k_format,
                                         .v_format = options.v_format,
                                         .hadamard = options.kv_hadamard,
                                         .num_ranks = num_ranks});
}

ThreadPlaces place_host_threads(const RunnerOptions& options, bool on_host) {
  // The threads that serve another device read little memory.
  if (!on_host && options.processors == "auto") return {};
  return place_threads(options.processors, options.num_threads);
}

// Whether threads stay near to memory that they have written first: on a machine with several memory nodes.
bool are_near_memory(const ThreadPlaces& places) { return !places.empty() && !place_threads("auto", 1).empty(); }

// The pages of a mapped file lie on any node, so that a model which starts faster would decode more slowly there: it
// must be asked for.
void keep_weights_near(const ThreadPlaces& places, RunnerOptions& options) {
  if (options.weight_cache.empty() || options.fills_weight_cache || !are_near_memory(places)) return;
  log::info(
      "weights are packed near the threads of each memory node; --weight-cache on maps them from the cache instead, "
      "wherever its pages are");
  options.weight_cache.clear();
}

// The least free memory of any device. Each is asked on a thread of its own, because it becomes that thread's device.
uint64_t least_free_bytes(const RunnerOptions& options) {
  std::vector<uint64_t> free(static_cast<size_t>(options.tensor_parallel));
  RankThreads(options.tensor_parallel).run([&](int rank) {
    free[static_cast<size_t>(rank)] = options.cuda.make(options.one_answer, rank).device->free_bytes();
  });
  return std::ranges::min(free);
}

// Of all ranks together.
uint64_t allowed_bytes(const RunnerOptions& options, const Device& device) {
  if (options.memory_bytes != 0) return options.memory_bytes;
  uint64_t available = device.is_host() ? available_memory() : device.free_bytes();
  if (!device.is_host() && options.tensor_parallel > 1) {
    available = static_cast<uint64_t>(options.tensor_parallel) * least_free_bytes(options);
  }
  return static_cast<uint64_t>(static_cast<double>(available) * kMemoryMargin);
}

void check_sums(const RunnerOptions& options, bool on_host) {
  if (on_host || options.tensor_parallel <= 2 || !options.one_answer) return;
  fail(ErrorCode::kUnsupported,
       "{} GPUs add their results in an order that depends on the batch, so that answers would depend on it too: use "
       "--tensor-parallel 2, or allow it with --no-one-answer",
       options.tensor_parallel);
}

// Ranks wait for each other within a layer, so that one whose disk fails would leave the others waiting.
bool can_stream(const RunnerOptions& options, bool on_host) {
  return on_host && options.tensor_parallel == 1 && !options.stage;
}

// Plans all of it. Layers are read from the file of packed weights.
void plan_memory_of(const PlanInput& input, LoadPlan& plan) {
  plan.memory = plan_memory(input, plan.options, plan.stream);
  if (!plan.stream || !plan.options.weight_cache.empty()) return;
  plan.memory = plan_memory(input, plan.options);
  plan.memory.advice += "; or leave layers on the disk (--weight-cache on)";
  plan.stream.reset();
}

uint64_t cached_bytes(const Checkpoint& checkpoint, const LoadPlan& plan) {
  if (plan.stream) return 0;
  uint64_t bytes = 0;
  for (int rank = 0; rank < plan.options.tensor_parallel; ++rank) {
    const auto cache = weight_cache_of(checkpoint, plan, *plan.backend.kernels, *plan.backend.device, rank);
    if (cache && cache->matches()) bytes += plan.weight_bytes;
  }
  return bytes;
}

}  // namespace

LoadPlan plan_load(const Checkpoint& checkpoint, const RunnerOptions& asked) {
  check_option("tensor parallelism", asked.tensor_parallel, 1, PartitionCheck::kMaxRanks);
  LoadPlan plan;
  plan.backend = select_backend(backend_choice(asked), asked.cuda);
  const Kernels& kernels = *plan.backend.kernels;
  const Device& device = *plan.backend.device;
  const bool on_host = device.is_host();
  check_sums(asked, on_host);
  WeightLoader loader(checkpoint, kernels, weights_wanted(asked, 0));
  const std::unique_ptr<Model> model = make_model(checkpoint, loader);
  plan.info = model->info();
  if (!asked.stage) plan.unused_tensors = loader.unused_tensors();
  RunnerOptions& options = plan.options = resolve(asked, model->info(), kernels);
  options.device = on_host ? "cpu" : "cuda";
  plan.places = place_host_threads(options, on_host);
  if (on_host) keep_weights_near(plan.places, options);
  plan.kv = kv_layout_of(model->info(), options, options.tensor_parallel);
  const StepLimits limits = limits_of(plan, on_host);
  Arena workspace;
  InputArena inputs;
  model->take_workspace(workspace, inputs, kernels, limits);
  StepArrays{}.take(workspace, inputs, limits);
  workspace.take_bytes(kernels.scratch_bytes);
  plan.weight_bytes = loader.packed_bytes();
  plan.input_bytes = inputs.used_bytes();
  plan.workspace_bytes = workspace.used_bytes();

  const auto num_ranks = static_cast<uint64_t>(options.tensor_parallel);
  const uint64_t sampling_bytes = static_cast<uint64_t>(limits.num_threads) *
                                  static_cast<uint64_t>(model->info().vocab_size) * options.sampling_bytes_per_token;
  options.memory_bytes = allowed_bytes(options, device);
  // Where threads are placed on memory nodes, `auto` keeps to the packed weights of each start, if it can.
  const std::string weight_cache = std::exchange(options.weight_cache, asked.weight_cache);
  plan_memory_of({.weight_bytes = num_ranks * plan.weight_bytes,
                  .sections = can_stream(options, on_host) ? loader.sections() : std::vector<uint64_t>(),
                  .mapped_bytes = loader.mapped_bytes(),
                  .workspace_bytes = num_ranks * (plan.workspace_bytes + plan.input_bytes),
                  .sampling_bytes = on_host ? sampling_bytes : 0,
                  .kv = kv_layout_of(model->info(), options, 1).groups,
                  .swap_on_device = on_host,
                  .allowed_bytes = options.memory_bytes},
                 plan);
  if (!plan.stream) options.weight_cache = weight_cache;
  plan.memory.cached_bytes = cached_bytes(checkpoint, plan);
  options.num_blocks = plan.memory.num_blocks;
  options.num_swap_blocks = plan.memory.num_swap_blocks;
  return plan;
}

WeightsWanted weights_wanted(const RunnerOptions& options, int rank) {
  return {.share = {.rank = rank, .size = options.tensor_parallel},
          .stage = options.stage,
          .format = options.weight_format};
}

BackendChoice backend_choice(const RunnerOptions& options, int index) {
  return {.device = options.device,
          .isa = options.isa,
          .activations = options.activations,
          .one_answer = options.one_answer,
          .index = index,
          .pages = options.pages};
}

std::optional<WeightCache> weight_cache_of(const Checkpoint& checkpoint, const LoadPlan& plan, const Kernels& kernels,
                                           const Device& device, int rank) {
  if (plan.options.weight_cache.empty() || !device.is_host() || plan.options.stage) return std::nullopt;
  return WeightCache::find(plan.options.weight_cache,
                           {.checkpoint = checkpoint,
                            .kernels = kernels,
                            .wanted = weights_wanted(plan.options, rank),
                            .weight_bytes = plan.weight_bytes},
                           plan.options.fills_weight_cache || plan.stream.has_value());
}

StepLimits limits_of(const LoadPlan& plan, bool on_host) {
  const RunnerOptions& options = plan.options;
  return {.num_threads = std::max(1, options.num_threads / options.tensor_parallel),
          .max_rows = options.max_batch_tokens,
          .max_logit_rows = options.max_logit_rows,
          .max_hidden_rows = options.max_hidden_rows,
          .max_sequences = options.max_sequences,
          .max_branches = options.max_branches,
          .max_context = options.max_context,
          .num_kv_groups = static_cast<int>(plan.kv.groups.size()),
          .remembered_positions = on_host ? 0 : options.max_context,
          .tapped_layers = options.tapped_layers,
          .hidden_input_size = plan.info.hidden_input_size};
}

}  // namespace quire
