#include "models/model_runner.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "kernels/select.h"
#include "models/memory_plan.h"
#include "models/registry.h"
#include "models/step_arrays.h"
#include "models/system_memory.h"
#include "models/weight_loader.h"

namespace quire {
namespace {

// Of what the system reports as free, so that the rest of the process and its neighbours can breathe.
constexpr double kMemoryMargin = 0.95;

static_assert(kInputSlots == Device::kNumMarks);  // a step in flight has one of each

void check_option(const char* option, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) {
    fail(ErrorCode::kInvalidArgument, "{} is {}, expected {} to {}", option, value, least, most);
  }
}

void check_kv_format(const char* option, Format format) {
  if (kv_tile_bytes(format, kKvGroup) > 0) return;
  fail(ErrorCode::kUnsupported, "{} {} is unknown; this build keeps KV as F32, F16, BF16, F8_E4M3, Q8_0 or Q4_0",
       option, weight_format(format).name);
}

// Every zero becomes what it stands for, except num_blocks: the plan chooses that.
RunnerOptions resolve(RunnerOptions options, const ModelInfo& info, const Kernels& kernels) {
  check_option("the number of threads", options.num_threads, 0, 1024);
  check_option("the tokens of a batch", options.max_batch_tokens, 1, int64_t{1} << 20);
  check_option("the sequences of a batch", options.max_sequences, 1, 65535);  // a grid of CUDA blocks has no more
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

StepLimits limits_of(const RunnerOptions& options, const Device& device) {
  return {.num_threads = options.num_threads,
          .max_rows = options.max_batch_tokens,
          .max_logit_rows = options.max_logit_rows,
          .max_sequences = options.max_sequences,
          .max_context = options.max_context,
          .on_host = device.is_host()};
}

KvShape kv_shape_of(const ModelInfo& info, const RunnerOptions& options) {
  return {.num_layers = info.num_layers,
          .num_kv_heads = info.num_kv_heads,
          .head_dim = info.head_dim,
          .k_format = options.k_format,
          .v_format = options.v_format};
}

// A model measured, not loaded.
struct Measured {
  Backend backend;
  ModelInfo info;
  RunnerOptions options;
  KvShape kv;
  uint64_t input_bytes = 0;  // of MemoryPlan::workspace_bytes
  MemoryPlan plan;
};

uint64_t allowed_bytes(const RunnerOptions& options, const Device& device) {
  if (options.memory_bytes != 0) return options.memory_bytes;
  const uint64_t available = device.is_host() ? available_memory() : device.free_bytes();
  return static_cast<uint64_t>(static_cast<double>(available) * kMemoryMargin);
}

Measured measure(const Checkpoint& checkpoint, const RunnerOptions& asked) {
  Backend backend = select_backend(asked.device, asked.isa, asked.one_answer);
  const Kernels& kernels = *backend.kernels;
  const bool on_host = backend.device->is_host();
  WeightLoader loader(checkpoint, kernels, on_host);
  const std::unique_ptr<Model> model = make_model(checkpoint, loader);
  RunnerOptions options = resolve(asked, model->info(), kernels);
  options.device = on_host ? "cpu" : "cuda";
  const StepLimits limits = limits_of(options, *backend.device);
  Arena workspace;
  InputArena inputs;
  model->take_workspace(workspace, inputs, kernels, limits);
  StepArrays{}.take(workspace, inputs, kernels, limits);
  workspace.take_bytes(kernels.scratch_bytes);
  const KvShape kv = kv_shape_of(model->info(), options);
  if (options.num_swap_blocks == 0) {
    options.num_swap_blocks = static_cast<int64_t>(options.swap_bytes / kv.block_bytes());
  }
  options.memory_bytes = allowed_bytes(options, *backend.device);
  const MemoryPlan plan = plan_memory({.weight_bytes = loader.packed_bytes(),
                                       .mapped_bytes = loader.mapped_bytes(),
                                       .workspace_bytes = workspace.used_bytes() + inputs.used_bytes(),
                                       .kv = kv,
                                       .swap_on_device = on_host,
                                       .allowed_bytes = options.memory_bytes},
                                      options);
  options.num_blocks = plan.num_blocks;
  return {std::move(backend), model->info(), options, kv, inputs.used_bytes(), plan};
}

}  // namespace

struct ModelRunner::Impl {
  Impl(const Checkpoint& checkpoint, Measured measured, const LoadProgress& progress)
      : options(std::move(measured.options)),
        plan(std::move(measured.plan)),
        kernels(*measured.backend.kernels),
        device(std::move(measured.backend.device)),
        limits(limits_of(options, *device)),
        pool(options.num_threads),
        exec(make_exec(pool, device->stream())),
        weights(*device, plan.weight_bytes),
        workspace(*device, plan.workspace_bytes - measured.input_bytes),
        inputs(*device, measured.input_bytes),
        staging(*device, device->is_host() ? 0 : kInputSlots * measured.input_bytes),
        kv(measured.kv, *device, plan.num_blocks, options.num_swap_blocks) {
    MatmulTunings tunings;
    if (device->is_host()) tunings = load_tuning(options.tuning_file, kernels.name, options.num_threads);
    WeightLoader loader(checkpoint, kernels, exec, *device, weights, std::move(tunings), [&](uint64_t done_bytes) {
      if (progress) progress(done_bytes, plan.weight_bytes);
    });
    model = make_model(checkpoint, loader);
    device->synchronize();
    checkpoint.release_pages();
    Arena arena(workspace);
    const std::span<std::byte> on_device(inputs.data(), inputs.size_bytes());
    InputArena input_arena(staging.bytes(), on_device);
    model->take_workspace(arena, input_arena, kernels, limits);
    arrays.take(arena, input_arena, kernels, limits);
    exec.scratch = arena.take_bytes(kernels.scratch_bytes);
    if (device->is_host())
      prepare_pool();
    else
      make_room_for_results();
  }

  // The first token writes into every layer's pool, each on pages of its own: provided here by all threads, they would
  // otherwise be cleared one after the other in the first step.
  void prepare_pool() {
    pool.parallel_for(kv.shape().num_layers, [this](int64_t i, int) {
      const KvLayer layer = kv.layer(static_cast<int>(i));
      layer.k[0] = layer.v[0] = std::byte{};
    });
    if (!options.populate_kv) return;
    populating = std::jthread([this](const std::stop_token& stop) {
      const sched_param idle{};
      ::sched_setscheduler(0, SCHED_IDLE, &idle);  // of this thread; a failure only makes it less polite
      kv.populate(stop);
    });
  }

  void make_room_for_results() {
    const int64_t row_size = std::max(model->info().vocab_size, model->info().hidden_size);
    results.emplace(*device, static_cast<size_t>(limits.max_logit_rows * row_size) * sizeof(float));
    choices.emplace(*device, kInputSlots * static_cast<size_t>(limits.max_logit_rows) * sizeof(int32_t));
  }

  bool can_sample() const { return kernels.sample_rows != nullptr && model->info().vocab_size <= kMaxSampledVocab; }
  bool runs_ahead() const { return !limits.on_host && can_sample(); }
  void start(const Batch& batch);
  Step prepare(const Batch& batch);
  Model::Output forward(const Step& step, bool samples, uint64_t key);
  void finish();
  // Where the host finds the tokens that a step of this slot chose.
  int32_t* choices_of(int slot) {
    if (!choices) return arrays.tokens();
    return reinterpret_cast<int32_t*>(choices->bytes().data()) + slot * limits.max_logit_rows;
  }

  // What was asked of a step, and where it lies on the device.
  struct Started {
    Model::Output output;
    size_t logit_floats = 0;
    size_t hidden_floats = 0;
    size_t num_tokens = 0;
  };

  RunnerOptions options;
  MemoryPlan plan;
  const Kernels& kernels;
  std::unique_ptr<Device> device;
  StepLimits limits;
  ThreadPool pool;
  Exec exec;
  DeviceBuffer weights;
  DeviceBuffer workspace;
  DeviceBuffer inputs;
  // For a device that is not the host:
  StagingBuffer staging;                 // of the inputs, for each slot
  std::optional<StagingBuffer> results;  // logits and hidden states
  std::optional<StagingBuffer> choices;  // tokens, for each slot
  KvCache kv;
  std::unique_ptr<Model> model;
  StepArrays arrays;
  std::map<uint64_t, Model::Output> recorded;  // by the device's key
  Started steps[kInputSlots];                  // those in flight, by slot
  int num_in_flight = 0;
  int next_slot = 0;
  std::span<const float> logits;
  std::span<const float> hidden;
  std::span<const int32_t> tokens;
  std::jthread populating;  // the last member: ended before what it works on
};

void ModelRunner::Impl::start(const Batch& batch) {
  // What wants more than tokens reads it from where the next step writes.
  const Started& before = steps[kInputSlots - 1 - next_slot];
  CHECK(num_in_flight == 0 ||
        (runs_ahead() && num_in_flight < kInputSlots && before.logit_floats == 0 && before.hidden_floats == 0));
  Step step = prepare(batch);
  const bool samples = !batch.sampling.empty();
  uint64_t key = 0;
  if (!limits.on_host && arrays.is_recurrent(step)) {
    arrays.pad(step);
    key = static_cast<uint64_t>(step.num_rows) << 32 | static_cast<uint64_t>(step.max_context) << 3 |
          static_cast<uint64_t>(step.input_slot) << 2 | static_cast<uint64_t>(samples) << 1 |
          static_cast<uint64_t>(step.share_prefixes);
  }
  const ModelInfo& info = model->info();
  const size_t num_logit_rows = samples ? 0 : batch.logit_rows.size();
  steps[next_slot] = {.output = forward(step, samples, key),
                      .logit_floats = num_logit_rows * static_cast<size_t>(info.vocab_size),
                      .hidden_floats = batch.hidden_rows.size() * static_cast<size_t>(info.hidden_size),
                      .num_tokens = batch.sampling.size()};
  device->mark(next_slot);
  next_slot = (next_slot + 1) % kInputSlots;
  ++num_in_flight;
}

Step ModelRunner::Impl::prepare(const Batch& batch) {
  const Started& before = steps[kInputSlots - 1 - next_slot];
  Step step = arrays.place(batch, next_slot,
                           {.vocab_size = model->info().vocab_size,
                            .num_blocks = kv.num_blocks(),
                            .can_sample = can_sample(),
                            .num_chosen = static_cast<int64_t>(before.num_tokens)});
  step.kernels = &kernels;
  step.exec = exec;
  step.device = device.get();
  step.kv = &kv;
  step.share_prefixes = step.share_prefixes && options.share_prefixes;
  return step;
}

Model::Output ModelRunner::Impl::forward(const Step& step, bool samples, uint64_t key) {
  model->prepare(step);
  Model::Output output;
  device->run(key, [&] {
    arrays.upload(*device, step, samples);
    output = model->forward(step);
    if (!samples) return;
    kernels.sample_rows(exec, output.logits, step.num_logit_rows, static_cast<int>(model->info().vocab_size),
                        arrays.sampling(), arrays.tokens());
    device->download_staged(reinterpret_cast<std::byte*>(choices_of(step.input_slot)),
                            reinterpret_cast<const std::byte*>(arrays.tokens()),
                            static_cast<size_t>(step.num_logit_rows) * sizeof(int32_t));
  });
  if (key == 0) return output;
  if (output.logits != nullptr) recorded[key] = output;
  return recorded.at(key);
}

// The results of the step that was started first to the host, wherever they are.
void ModelRunner::Impl::finish() {
  CHECK(num_in_flight > 0);
  const int slot = (next_slot + kInputSlots - num_in_flight) % kInputSlots;
  --num_in_flight;
  device->wait_for(slot);
  const Started& step = steps[slot];
  Model::Output output = step.output;
  if (results) {
    std::byte* const place = results->bytes().data();
    const auto download = [&](const float* from, size_t first, size_t count) -> const float* {
      auto* const to = reinterpret_cast<float*>(place) + first;
      if (count > 0) {
        device->download(reinterpret_cast<std::byte*>(to), reinterpret_cast<const std::byte*>(from),
                         count * sizeof(float));
      }
      return to;
    };
    output = {.logits = download(output.logits, 0, step.logit_floats),
              .hidden = download(output.hidden, step.logit_floats, step.hidden_floats)};
  }
  tokens = {choices_of(slot), step.num_tokens};
  logits = {output.logits, step.logit_floats};
  hidden = {output.hidden, step.hidden_floats};
}

MemoryPlan ModelRunner::plan(const Checkpoint& checkpoint, const RunnerOptions& options) {
  return measure(checkpoint, options).plan;
}

ModelInfo ModelRunner::info(const Checkpoint& checkpoint) { return measure(checkpoint, {.device = "cpu"}).info; }

std::set<MatrixShape> ModelRunner::matrices(const Checkpoint& checkpoint, const std::string& isa) {
  WeightLoader loader(checkpoint, select_kernels(isa), /*on_host=*/true);
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
std::string ModelRunner::device() const { return impl_->device->description(); }

void ModelRunner::start(const Batch& batch) { impl_->start(batch); }
std::span<const float> ModelRunner::finish() {
  impl_->finish();
  return impl_->logits;
}
std::span<const float> ModelRunner::run(const Batch& batch) {
  start(batch);
  return finish();
}
void ModelRunner::wait() { impl_->device->synchronize(); }
bool ModelRunner::runs_ahead() const { return impl_->runs_ahead(); }
bool ModelRunner::can_sample() const { return impl_->can_sample(); }
std::span<const int32_t> ModelRunner::tokens() const { return impl_->tokens; }
std::span<const float> ModelRunner::hidden() const { return impl_->hidden; }
void ModelRunner::parallel_for(int64_t count, const std::function<void(int64_t)>& body) {
  impl_->pool.parallel_for(count, [&](int64_t i, int) { body(i); });
}
void ModelRunner::copy_block(int32_t from, int32_t to) { impl_->kv.copy_block(from, to); }
void ModelRunner::swap_out(int32_t block, int32_t slot) { impl_->kv.swap_out(block, slot); }
void ModelRunner::swap_in(int32_t slot, int32_t block) { impl_->kv.swap_in(slot, block); }

}  // namespace quire
