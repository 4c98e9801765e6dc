#include "models/running/model_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/huge_pages.h"
#include "base/log.h"
#include "kernels/select.h"
#include "models/architectures/registry.h"
#include "models/loading/weight_loader.h"
#include "models/planning/load_plan.h"
#include "models/planning/memory_plan.h"
#include "models/running/rank_runner.h"
#include "parallel/rank_threads.h"
#include "parallel/thread_communicator.h"

namespace quire {

struct ModelRunner::Impl {
  Impl(const Checkpoint& checkpoint, LoadPlan load_plan, const LoadProgress& progress);
  // Ranks end as they began, each on its thread.
  ~Impl() {
    on_all_ranks([](std::unique_ptr<RankRunner>& rank) { rank.reset(); });
  }

  // Calls body on every rank, one that is alone without further ado.
  template <typename Body>
  void on_all_ranks(const Body& body) {
    if (ranks.size() == 1) return body(ranks[0]);
    threads.run([&](int rank) { body(ranks[static_cast<size_t>(rank)]); });
  }
  RankRunner& first() const { return *ranks[0]; }

  LoadPlan plan;
  Communicators communicators;  // none for one rank
  RankThreads threads;
  std::vector<std::unique_ptr<RankRunner>> ranks;
};

ModelRunner::Impl::Impl(const Checkpoint& checkpoint, LoadPlan load_plan, const LoadProgress& progress)
    : plan(std::move(load_plan)),
      threads(plan.options.tensor_parallel),
      ranks(static_cast<size_t>(plan.options.tensor_parallel)) {
  const RunnerOptions& options = plan.options;
  const auto num_ranks = ranks.size();
  // All load alike, so the first speaks for them.
  const auto report = [&](uint64_t done_bytes) {
    if (progress) progress(num_ranks * done_bytes, plan.memory.weight_bytes);
  };
  Backend backend = std::exchange(plan.backend, {});
  if (num_ranks == 1) {
    ranks[0] = std::make_unique<RankRunner>(checkpoint, plan, std::move(backend), single_communicator(), report);
    return;
  }
  const bool on_host = backend.device->is_host();
  communicators = (on_host ? make_thread_communicators : options.make_cuda_communicators)(options.tensor_parallel);
  try {
    threads.run([&](int rank) {
      const auto index = static_cast<size_t>(rank);
      Backend own = rank == 0 ? std::move(backend) : select_backend(backend_choice(options, rank), options.cuda);
      ranks[index] = std::make_unique<RankRunner>(checkpoint, plan, std::move(own), *communicators[index],
                                                  rank == 0 ? report : RankRunner::Progress{});
    });
  } catch (...) {
    on_all_ranks([](std::unique_ptr<RankRunner>& rank) { rank.reset(); });
    throw;
  }
}

// What a user may want to know of a file that is read all the same, a line each.
void warn_about(const Checkpoint& checkpoint, const LoadPlan& plan) {
  const std::vector<std::string>& unused = plan.unused_tensors;
  if (!unused.empty()) {
    log::warning("{}: {} of its tensors {} not used: {}{}", checkpoint.name(), unused.size(),
                 unused.size() == 1 ? "is" : "are", printable(unused[0]), unused.size() > 1 ? " and others" : "");
  }
  const GgufFile* gguf = checkpoint.gguf();
  if (gguf != nullptr && gguf->find_string("tokenizer.ggml.model", "") == "gpt2" && !gguf->has("tokenizer.ggml.pre")) {
    log::warning(
        "{}: \"tokenizer.ggml.pre\" is missing, so texts are split into words by a default rule; if answers are poor, "
        "get a newer conversion of the model",
        checkpoint.name());
  }
  if (plan.options.max_context > plan.info.max_context) {
    log::warning("{}: context {} is more than the {} positions the model was made for", checkpoint.name(),
                 plan.options.max_context, plan.info.max_context);
  }
}

// What the system made of the wish for huge pages. Small models do not gain by them.
void report_pages(uint64_t weight_bytes, PageSize pages) {
  constexpr uint64_t kSmallModel = uint64_t{64} << 20;
  if (weight_bytes < kSmallModel || pages == PageSize::kSmall) return;
  const auto memory = anonymous_memory();
  if (!memory || memory->bytes == 0) return;
  log::info("{} of {} MiB in use are on huge pages{}", memory->huge_bytes >> 20, memory->bytes >> 20,
            system_huge_pages() == HugePages::kNever
                ? ", which this system never gives (/sys/kernel/mm/transparent_hugepage/enabled)"
                : "");
}

MemoryPlan ModelRunner::plan(const Checkpoint& checkpoint, const RunnerOptions& options) {
  return plan_load(checkpoint, options).memory;
}

ModelInfo ModelRunner::info(const Checkpoint& checkpoint) { return plan_load(checkpoint, {.device = "cpu"}).info; }

std::set<MatrixShape> ModelRunner::matrices(const Checkpoint& checkpoint, const Kernels& kernels) {
  WeightLoader loader(checkpoint, kernels);
  make_model(checkpoint, loader);
  return loader.matrices();
}

std::unique_ptr<ModelRunner> ModelRunner::load(const Checkpoint& checkpoint, const RunnerOptions& options,
                                               const LoadProgress& progress) {
  LoadPlan plan = plan_load(checkpoint, options);
  if (!plan.memory.fits) throw Error(ErrorCode::kOutOfMemory, refusal_text(checkpoint.name(), plan.memory));
  if (!options.stage) warn_about(checkpoint, plan);
  if (!plan.places.empty()) log::info("threads run on processors {}", describe_places(plan.places));
  auto impl = std::make_unique<Impl>(checkpoint, std::move(plan), progress);
  const auto num_cached =
      std::ranges::count_if(impl->ranks, [](const auto& rank) { return rank->has_cached_weights(); });
  impl->plan.memory.cached_bytes = static_cast<uint64_t>(num_cached) * impl->plan.weight_bytes;
  if (impl->first().device().is_host()) report_pages(impl->plan.weight_bytes, options.pages);
  return std::unique_ptr<ModelRunner>(new ModelRunner(std::move(impl)));
}

ModelRunner::ModelRunner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ModelRunner::~ModelRunner() = default;

const ModelInfo& ModelRunner::info() const { return impl_->first().info(); }
const MemoryPlan& ModelRunner::plan() const { return impl_->plan.memory; }
WeightReads ModelRunner::weight_reads() const { return impl_->first().weight_reads(); }
const RunnerOptions& ModelRunner::options() const { return impl_->plan.options; }
const char* ModelRunner::isa() const { return impl_->plan.options.isa.c_str(); }
std::string ModelRunner::device() const {
  const std::string one = impl_->first().device().description();
  return impl_->ranks.size() == 1 ? one : fmt::format("{} ranks on {}", impl_->ranks.size(), one);
}

const Linear* ModelRunner::output_matrix() const {
  const Linear* last = nullptr;
  if (!info().has_head || impl_->ranks.size() > 1) return last;
  impl_->first().model().visit_matrices([&](const Linear& matrix) { last = &matrix; });
  return last;
}

void ModelRunner::observe(InputObserver* observer) {
  impl_->on_all_ranks([&](auto& rank) { rank->observe(observer); });
}

void ModelRunner::start(const Batch& batch) {
  impl_->on_all_ranks([&](auto& rank) { rank->start(batch); });
}
std::span<const float> ModelRunner::finish() {
  impl_->on_all_ranks([](auto& rank) { rank->finish(); });
  return impl_->first().logits();
}
std::span<const float> ModelRunner::run(const Batch& batch) {
  start(batch);
  return finish();
}
void ModelRunner::wait() {
  impl_->on_all_ranks([](auto& rank) { rank->device().synchronize(); });
}
bool ModelRunner::runs_ahead() const { return impl_->first().runs_ahead(); }
bool ModelRunner::can_sample() const { return impl_->first().can_sample(); }
std::span<const int32_t> ModelRunner::tokens() const { return impl_->first().tokens(); }
std::span<const float> ModelRunner::hidden() const { return impl_->first().hidden(); }
std::span<const float> ModelRunner::tapped() const { return impl_->first().tapped(); }
void ModelRunner::parallel_for(int64_t count, const std::function<void(int64_t, int)>& body) {
  ThreadPool& pool = impl_->first().pool();
  const BoundThread bound = pool.bind_caller();
  pool.parallel_for(count, body);
}
int ModelRunner::num_host_threads() const { return impl_->first().pool().num_threads(); }
void ModelRunner::move(const KvMove& move) {
  impl_->on_all_ranks([&](auto& rank) { rank->kv().move(move); });
}
std::vector<std::span<std::byte>> ModelRunner::block_parts(int group, int32_t block) {
  std::vector<std::span<std::byte>> parts;
  for (const auto& rank : impl_->ranks) rank->kv().append_parts(group, block, parts);
  return parts;
}

void ModelRunner::move_everywhere(KvPlace from, KvPlace to) {
  const auto num_groups = static_cast<int>(plan().kv_groups.size());
  for (int group = 0; group < num_groups; ++group) move({group, from, to});
}
void ModelRunner::copy_block(int32_t from, int32_t to) { move_everywhere({KvTier::kPool, from}, {KvTier::kPool, to}); }
void ModelRunner::swap_out(int32_t block, int32_t place) {
  move_everywhere({KvTier::kPool, block}, {KvTier::kHost, place});
}
void ModelRunner::swap_in(int32_t place, int32_t block) {
  move_everywhere({KvTier::kHost, place}, {KvTier::kPool, block});
}

}  // namespace quire
