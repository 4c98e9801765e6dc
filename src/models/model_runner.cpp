#include "models/model_runner.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "kernels/select.h"
#include "models/memory_plan.h"
#include "models/registry.h"
#include "models/system_memory.h"
#include "models/weight_loader.h"

namespace quire {
namespace {

// Of what the system reports as free, so that the rest of the process and its neighbours can breathe.
constexpr double kMemoryMargin = 0.95;

void check_option(const char* option, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) {
    fail(ErrorCode::kInvalidArgument, "{} is {}, expected {} to {}", option, value, least, most);
  }
}

void check_kv_format(const char* option, Format format) {
  if (kv_tile_bytes(format, kKvGroup) > 0) return;
  fail(ErrorCode::kUnsupported, "{} {} is unknown; this build keeps KV as F32, F16, BF16, Q8_0 or Q4_0", option,
       weight_format(format).name);
}

// Every zero becomes what it stands for, except num_blocks: the plan chooses that.
RunnerOptions resolve(RunnerOptions options, const ModelInfo& info, const Kernels& kernels) {
  check_option("the number of threads", options.num_threads, 0, 1024);
  check_option("the tokens of a batch", options.max_batch_tokens, 1, int64_t{1} << 20);
  check_option("the sequences of a batch", options.max_sequences, 1, int64_t{1} << 16);
  check_option("the context", options.max_context, 0, int64_t{1} << 27);
  check_option("the number of KV blocks", options.num_blocks, 0, int64_t{1} << 30);
  check_option("the number of swap blocks", options.num_swap_blocks, 0, int64_t{1} << 30);
  check_kv_format("K type", options.k_format);
  check_kv_format("V type", options.v_format);
  if (options.num_threads == 0) options.num_threads = available_processors();
  if (options.max_context == 0) options.max_context = info.max_context;
  if (options.max_logit_rows == 0) options.max_logit_rows = options.max_batch_tokens;
  check_option("the rows with logits", options.max_logit_rows, 1, options.max_batch_tokens);
  options.isa = kernels.name;
  return options;
}

StepLimits limits_of(const RunnerOptions& options) {
  return {.num_threads = options.num_threads,
          .max_rows = options.max_batch_tokens,
          .max_logit_rows = options.max_logit_rows,
          .max_sequences = options.max_sequences,
          .max_context = options.max_context};
}

KvShape kv_shape_of(const ModelInfo& info, const RunnerOptions& options) {
  return {.num_layers = info.num_layers,
          .num_kv_heads = info.num_kv_heads,
          .head_dim = info.head_dim,
          .k_format = options.k_format,
          .v_format = options.v_format};
}

// What a step needs beside the model's activations.
struct StepArrays {
  int64_t* positions = nullptr;
  int64_t* length_limits = nullptr;
  int64_t* slots = nullptr;
  AttentionSequence* sequences = nullptr;

  void take(Arena& arena, const StepLimits& limits) {
    positions = arena.take<int64_t>(limits.max_rows);
    length_limits = arena.take<int64_t>(limits.max_rows);
    slots = arena.take<int64_t>(limits.max_rows);
    sequences = arena.take<AttentionSequence>(limits.max_sequences);
  }
};

// A model measured, not loaded.
struct Measured {
  const Kernels* kernels;
  ModelInfo info;
  RunnerOptions options;
  KvShape kv;
  MemoryPlan plan;
};

Measured measure(const Checkpoint& checkpoint, const RunnerOptions& asked) {
  const Kernels& kernels = select_kernels(asked.isa);
  WeightLoader loader(checkpoint, kernels);
  const std::unique_ptr<Model> model = make_model(checkpoint, loader);
  RunnerOptions options = resolve(asked, model->info(), kernels);
  Arena workspace;
  model->take_workspace(workspace, kernels, limits_of(options));
  StepArrays{}.take(workspace, limits_of(options));
  const KvShape kv = kv_shape_of(model->info(), options);
  if (options.num_swap_blocks == 0) {
    options.num_swap_blocks = static_cast<int64_t>(options.swap_bytes / kv.block_bytes());
  }
  uint64_t allowed = options.memory_bytes;
  if (allowed == 0) allowed = static_cast<uint64_t>(static_cast<double>(available_memory()) * kMemoryMargin);
  const MemoryPlan plan = plan_memory({.weight_bytes = loader.packed_bytes(),
                                       .mapped_bytes = loader.mapped_bytes(),
                                       .workspace_bytes = workspace.used_bytes(),
                                       .kv = kv,
                                       .allowed_bytes = allowed},
                                      options);
  options.memory_bytes = allowed;
  options.num_blocks = plan.num_blocks;
  return {&kernels, model->info(), options, kv, plan};
}

}  // namespace

struct ModelRunner::Impl {
  Impl(const Checkpoint& checkpoint, Measured measured, const LoadProgress& progress)
      : options(std::move(measured.options)),
        plan(std::move(measured.plan)),
        kernels(*measured.kernels),
        limits(limits_of(options)),
        pool(options.num_threads),
        exec(make_exec(pool)),
        weights(plan.weight_bytes),
        workspace(plan.workspace_bytes),
        kv(measured.kv, plan.num_blocks, options.num_swap_blocks) {
    MatmulTunings tunings = load_tuning(options.tuning_file, kernels.name, options.num_threads);
    WeightLoader loader(checkpoint, kernels, exec, weights, std::move(tunings), [&](uint64_t done_bytes) {
      if (progress) progress(done_bytes, plan.weight_bytes);
    });
    model = make_model(checkpoint, loader);
    checkpoint.release_pages();
    Arena arena(workspace);
    model->take_workspace(arena, kernels, limits);
    arrays.take(arena, limits);
    // The first token writes into every layer's pool, each on pages of its own: provided here by all threads, they
    // would otherwise be cleared one after the other in the first step.
    pool.parallel_for(kv.shape().num_layers, [this](int64_t i, int) {
      const KvLayer layer = kv.layer(static_cast<int>(i));
      layer.k[0] = layer.v[0] = std::byte{};
    });
    if (options.populate_kv) {
      populating = std::jthread([this](const std::stop_token& stop) {
        const sched_param idle{};
        ::sched_setscheduler(0, SCHED_IDLE, &idle);  // of this thread; a failure only makes it less polite
        kv.populate(stop);
      });
    }
  }

  // Checks the batch against the limits and lays out where its rows belong.
  Step prepare(const Batch& batch);
  void place_sequence(const Batch::Sequence& sequence, int64_t first_row);

  RunnerOptions options;
  MemoryPlan plan;
  const Kernels& kernels;
  StepLimits limits;
  ThreadPool pool;
  Exec exec;
  AlignedBuffer weights;
  AlignedBuffer workspace;
  KvCache kv;
  std::unique_ptr<Model> model;
  StepArrays arrays;
  std::span<const float> hidden;
  std::jthread populating;  // the last member: ended before what it works on
};

void check_rows(const std::vector<int32_t>& rows, int64_t num_rows) {
  int32_t previous = -1;
  for (const int32_t row : rows) {
    CHECK(row > previous && row < num_rows);
    previous = row;
  }
}

void ModelRunner::Impl::place_sequence(const Batch::Sequence& sequence, int64_t first_row) {
  const int64_t length = sequence.first_position + sequence.num_tokens;
  CHECK(sequence.num_tokens > 0 && sequence.first_position >= 0 && length <= limits.max_context);
  CHECK(static_cast<int64_t>(sequence.block_table.size()) >= blocks_per_sequence(length));
  for (int64_t i = 0; i < sequence.num_tokens; ++i) {
    const int64_t position = sequence.first_position + i;
    const int64_t block = sequence.block_table[static_cast<size_t>(position / kKvBlockSize)];
    CHECK(block >= 0 && block < kv.num_blocks());
    arrays.positions[first_row + i] = position;
    arrays.length_limits[first_row + i] = sequence.length_limit > 0 ? sequence.length_limit : limits.max_context;
    arrays.slots[first_row + i] = block * kKvBlockSize + position % kKvBlockSize;
  }
}

Step ModelRunner::Impl::prepare(const Batch& batch) {
  const auto num_rows = static_cast<int64_t>(batch.token_ids.size());
  const auto num_sequences = static_cast<int64_t>(batch.sequences.size());
  const auto num_logit_rows = static_cast<int64_t>(batch.logit_rows.size());
  const auto num_hidden_rows = static_cast<int64_t>(batch.hidden_rows.size());
  CHECK(num_rows > 0 && num_rows <= limits.max_rows);
  CHECK(num_sequences <= limits.max_sequences && num_logit_rows + num_hidden_rows <= limits.max_logit_rows);
  for (const int32_t id : batch.token_ids) CHECK(id >= 0 && id < model->info().vocab_size);
  check_rows(batch.logit_rows, num_rows);
  check_rows(batch.hidden_rows, num_rows);

  int64_t row = 0;
  for (int64_t i = 0; i < num_sequences; ++i) {
    const Batch::Sequence& sequence = batch.sequences[static_cast<size_t>(i)];
    CHECK(row + sequence.num_tokens <= num_rows);
    place_sequence(sequence, row);
    arrays.sequences[i] = {.first_row = row,
                           .num_rows = sequence.num_tokens,
                           .first_position = sequence.first_position,
                           .block_table = sequence.block_table.data()};
    row += sequence.num_tokens;
  }
  CHECK(row == num_rows);
  return {.kernels = &kernels,
          .exec = exec,
          .kv = &kv,
          .num_rows = num_rows,
          .token_ids = batch.token_ids.data(),
          .positions = arrays.positions,
          .length_limits = arrays.length_limits,
          .slots = arrays.slots,
          .sequences = arrays.sequences,
          .num_sequences = num_sequences,
          .share_prefixes = options.share_prefixes,
          .logit_rows = batch.logit_rows.data(),
          .num_logit_rows = num_logit_rows,
          .hidden_rows = batch.hidden_rows.data(),
          .num_hidden_rows = num_hidden_rows};
}

MemoryPlan ModelRunner::plan(const Checkpoint& checkpoint, const RunnerOptions& options) {
  return measure(checkpoint, options).plan;
}

ModelInfo ModelRunner::info(const Checkpoint& checkpoint) { return measure(checkpoint, {}).info; }

std::set<MatrixShape> ModelRunner::matrices(const Checkpoint& checkpoint, const std::string& isa) {
  WeightLoader loader(checkpoint, select_kernels(isa));
  make_model(checkpoint, loader);
  return loader.matrices();
}

std::unique_ptr<ModelRunner> ModelRunner::load(const Checkpoint& checkpoint, const RunnerOptions& options,
                                               const LoadProgress& progress) {
  Measured measured = measure(checkpoint, options);
  if (!measured.plan.fits) throw Error(ErrorCode::kOutOfMemory, refusal_text(checkpoint.name(), measured.plan));
  if (measured.options.max_context > measured.info.max_context) {
    log::warning("{}: context {} is more than the {} positions the model was made for", checkpoint.name(),
                 measured.options.max_context, measured.info.max_context);
  }
  return std::unique_ptr<ModelRunner>(
      new ModelRunner(std::make_unique<Impl>(checkpoint, std::move(measured), progress)));
}

ModelRunner::ModelRunner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ModelRunner::~ModelRunner() = default;

const ModelInfo& ModelRunner::info() const { return impl_->model->info(); }
const MemoryPlan& ModelRunner::plan() const { return impl_->plan; }
const RunnerOptions& ModelRunner::options() const { return impl_->options; }
const char* ModelRunner::isa() const { return impl_->kernels.name; }

std::span<const float> ModelRunner::run(const Batch& batch) {
  const Step step = impl_->prepare(batch);
  const Model::Output output = impl_->model->forward(step);
  impl_->hidden = {output.hidden, batch.hidden_rows.size() * static_cast<size_t>(info().hidden_size)};
  return {output.logits, batch.logit_rows.size() * static_cast<size_t>(info().vocab_size)};
}

std::span<const float> ModelRunner::hidden() const { return impl_->hidden; }
void ModelRunner::parallel_for(int64_t count, const std::function<void(int64_t)>& body) {
  impl_->pool.parallel_for(count, [&](int64_t i, int) { body(i); });
}
void ModelRunner::copy_block(int32_t from, int32_t to) { impl_->kv.copy_block(from, to); }
void ModelRunner::swap_out(int32_t block, int32_t slot) { impl_->kv.swap_out(block, slot); }
void ModelRunner::swap_in(int32_t slot, int32_t block) { impl_->kv.swap_in(slot, block); }

}  // namespace quire
