// `quire plan`: how much memory a model needs, computed from its headers alone.

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "apps/commands.h"
#include "apps/flags/values.h"
#include "apps/loaded_drafter.h"
#include "apps/options.h"
#include "apps/speculation_flags.h"
#include "apps/units.h"
#include "base/error.h"
#include "base/huge_pages.h"

namespace quire {
namespace {

struct PlanOptions {
  ModelOptions model;
  SpeculationFlags speculation;
  bool json = false;
};

json::array json_of(const std::vector<KvGroupPlan>& groups) {
  json::array list;
  for (const KvGroupPlan& group : groups) {
    list.push_back({{"layers", group.num_layers},
                    {"window", group.window},
                    {"blocks", group.num_blocks},
                    {"block_bytes", group.block_bytes},
                    {"kv_bytes", group.kv_bytes},
                    {"swap_blocks", group.num_host_blocks}});
  }
  return list;
}

// "26 layers that see 512 positions: 51 blocks x 704 KiB".
std::string describe(const KvGroupPlan& group) {
  const std::string reach =
      group.window == 0 ? "everything" : fmt::format("{} positions", format_count(static_cast<uint64_t>(group.window)));
  return fmt::format("{} layers that see {}: {} blocks x {}", group.num_layers, reach,
                     format_count(static_cast<uint64_t>(group.num_blocks)), format_bytes(group.block_bytes));
}

// The first line's bytes are not in the total.
void print_streamed(const StreamedWeights& streamed) {
  constexpr double kGigabyte = 1e9;
  fmt::print(
      "{:<12}{:>12}   {} of {} layers, which each step reads: at most {:.2f} steps/s for each GB/s of the disk\n",
      "  on disk", format_bytes(streamed.bytes), streamed.num_layers,
      streamed.num_layers + streamed.num_resident_layers, kGigabyte / static_cast<double>(streamed.bytes));
  fmt::print("{:<12}{:>12}   {}\n", "  buffers", format_bytes(streamed.buffer_bytes),
             "in which these layers take turns");
}

void print_pages(PageSize asked) {
  const bool is_huge = asked == PageSize::kHuge && system_huge_pages() != HugePages::kNever;
  const char* const how = is_huge ? "where the system has huge pages free"
                          : asked == PageSize::kHuge
                              ? "this system gives no huge ones (/sys/kernel/mm/transparent_hugepage/enabled)"
                              : "as asked for by --no-huge-pages";
  fmt::print("{:<12}{:>12}   {}\n", "pages of", format_bytes(is_huge ? AlignedBuffer::kHugePageBytes : 4096), how);
}

void plan(const PlanOptions& options) {
  const std::unique_ptr<Checkpoint> checkpoint = options.model.open(SyntheticContent::kHoles);
  const SpeculationOptions speculation = options.speculation.resolve();
  RunnerOptions runner = options.model.runner_options(checkpoint.get());
  make_room_for_drafts(runner, speculation);
  const ModelInfo info = ModelRunner::info(*checkpoint);
  const PlannedModels planned = plan_with_drafter(speculation, *checkpoint, runner);
  const uint64_t drafter_bytes = planned.drafter_bytes;
  MemoryPlan ledger = planned.target;
  ledger.total_bytes = planned.total_bytes();
  ledger.allowed_bytes = planned.allowed_bytes();
  if (options.json) {
    const json::object out = {{"activations", activations_name(runner.activations)},
                              {"weight_bytes", ledger.weight_bytes},
                              {"cached_weight_bytes", ledger.cached_bytes},
                              {"streamed_layers", ledger.streamed.num_layers},
                              {"streamed_weight_bytes", ledger.streamed.bytes},
                              {"stream_buffer_bytes", ledger.streamed.buffer_bytes},
                              {"kv_bytes", ledger.kv_bytes},
                              {"kv_bytes_per_token", ledger.kv_bytes_per_token},
                              {"kv_tokens", ledger.num_blocks * kKvBlockSize},
                              {"kv_groups", json_of(ledger.kv_groups)},
                              {"swap_bytes", ledger.swap_bytes},
                              {"workspace_bytes", ledger.workspace_bytes},
                              {"sampling_bytes", ledger.sampling_bytes},
                              {"drafter_bytes", drafter_bytes},
                              {"total_bytes", ledger.total_bytes},
                              {"allowed_bytes", ledger.allowed_bytes},
                              {"huge_pages", ledger.is_of_host && runner.pages == PageSize::kHuge &&
                                                 system_huge_pages() != HugePages::kNever},
                              {"ranks", ledger.num_ranks},
                              {"rank_bytes", ledger.rank_bytes},
                              {"fits", ledger.fits},
                              {"advice", ledger.advice}};
    fmt::print("{}\n", json::serialize(out));
  } else {
    const auto line = [](const char* what, uint64_t bytes, const std::string& how) {
      fmt::print("{:<12}{:>12}   {}\n", what, format_bytes(bytes), how);
    };
    line("weights", ledger.weight_bytes,
         ledger.cached_bytes > 0 ? "packed before, mapped from the weight cache" : "packed for this machine's kernels");
    if (ledger.streamed.num_layers > 0) print_streamed(ledger.streamed);
    const std::string positions = format_count(static_cast<uint64_t>(ledger.num_blocks * kKvBlockSize));
    if (ledger.kv_groups.size() == 1 && ledger.kv_groups[0].window == 0) {
      line("KV cache", ledger.kv_bytes,
           fmt::format("{} positions x {} B = 2 x {} layers x {} KV heads x {} dimensions x bytes of {} / {}",
                       positions, ledger.kv_bytes_per_token, info.num_layers, info.num_kv_heads, info.head_dim,
                       weight_format(runner.k_format).name, weight_format(runner.v_format).name));
    } else {
      line("KV cache", ledger.kv_bytes,
           fmt::format("{} positions in {} / {}", positions, weight_format(runner.k_format).name,
                       weight_format(runner.v_format).name));
      for (const KvGroupPlan& group : ledger.kv_groups) line("", group.kv_bytes, describe(group));
    }
    const std::string kind = runner.activations == kUsualActivations
                                 ? std::string()
                                 : fmt::format(", {} beside weights", activations_name(runner.activations));
    line("activations", ledger.workspace_bytes, fmt::format("for steps of {} tokens{}", runner.max_batch_tokens, kind));
    if (ledger.sampling_bytes > 0) {
      line("sampling", ledger.sampling_bytes, "work memory of the threads that choose tokens");
    }
    if (ledger.swap_bytes > 0) line("swap space", ledger.swap_bytes, "for the KV of preempted sequences");
    if (drafter_bytes > 0) line("drafter", drafter_bytes, "its weights, KV cache and activations");
    line("total", ledger.total_bytes, "");
    if (ledger.num_ranks > 1) line("each rank", ledger.rank_bytes, fmt::format("of {}", ledger.num_ranks));
    line("allowed", ledger.allowed_bytes, ledger.fits ? "it fits" : "it does not fit");
    if (ledger.is_of_host) print_pages(runner.pages);
    if (!ledger.advice.empty()) fmt::print("\n{}\n", ledger.advice);
  }
  if (!ledger.fits)
    fail(ErrorCode::kOutOfMemory, "the model needs {} and {} are allowed", format_bytes(ledger.total_bytes),
         format_bytes(ledger.allowed_bytes));
}

}  // namespace

void add_plan_command(Command& program) {
  Command& command = program.add_command("plan", "Show how much memory a model needs, without loading it");
  const auto options = std::make_shared<PlanOptions>();
  options->model.add_model(command);
  options->model.add_shape(command);
  command.add({{.names = "--json", .value = on_off(options->json), .help = "Print one JSON object"}});
  options->speculation.add(command);
  options->model.add_limits(command);
  options->model.add_compute(command);
  command.on_run([options] { plan(*options); });
}

}  // namespace quire
