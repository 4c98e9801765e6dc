#include "models/model_runner.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <bit>
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

// What a step needs beside the model's activations.
struct StepArrays {
  std::vector<int32_t> token_ids;
  std::vector<int64_t> positions;
  std::vector<int64_t> length_limits;
  StepInput<int64_t> slots;
  StepInput<AttentionSequence> sequences;
  StepInput<int32_t> wanted_rows;
  StepInput<SamplingRow> sampling;  // where the table samples, like `tokens`
  int32_t* tokens = nullptr;        // [max_logit_rows] on the device
  StepInput<int32_t> block_tables;  // [max_sequences, blocks of max_context]; the host reads the engine's own
  int64_t table_size = 0;

  void take(Arena& workspace, InputArena& arena, const Kernels& kernels, const StepLimits& limits) {
    token_ids.resize(static_cast<size_t>(limits.max_rows));
    positions.resize(token_ids.size());
    length_limits.resize(token_ids.size());
    slots = arena.take<int64_t>(limits.max_rows);
    sequences = arena.take<AttentionSequence>(limits.max_sequences);
    wanted_rows = arena.take<int32_t>(limits.max_logit_rows);
    if (kernels.sample_rows != nullptr) {
      sampling = arena.take<SamplingRow>(limits.max_logit_rows);
      tokens = workspace.take<int32_t>(limits.max_logit_rows);
    }
    if (limits.on_host) return;
    table_size = blocks_per_sequence(limits.max_context);
    block_tables = arena.take<int32_t>(limits.max_sequences * table_size);
  }
};

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
  Backend backend = select_backend(asked.device, asked.isa);
  const Kernels& kernels = *backend.kernels;
  const bool on_host = backend.device->is_host();
  WeightLoader loader(checkpoint, kernels);
  const std::unique_ptr<Model> model = make_model(checkpoint, loader);
  RunnerOptions options = resolve(asked, model->info(), kernels);
  options.device = on_host ? "cpu" : "cuda";
  const StepLimits limits = limits_of(options, *backend.device);
  Arena workspace;
  InputArena inputs;
  model->take_workspace(workspace, inputs, kernels, limits);
  StepArrays{}.take(workspace, inputs, kernels, limits);
  const KvShape kv = kv_shape_of(model->info(), options);
  if (options.num_swap_blocks == 0) {
    options.num_swap_blocks = static_cast<int64_t>(options.swap_bytes / kv.block_bytes());
  }
  options.memory_bytes = allowed_bytes(options, *backend.device);
  const MemoryPlan plan = plan_memory({.weight_bytes = loader.packed_bytes(),
                                       .mapped_bytes = on_host ? loader.mapped_bytes() : 0,
                                       .workspace_bytes = workspace.used_bytes() + inputs.used_bytes(),
                                       .kv = kv,
                                       .swap_on_device = on_host,
                                       .allowed_bytes = options.memory_bytes},
                                      options);
  options.num_blocks = plan.num_blocks;
  return {std::move(backend), model->info(), options, kv, inputs.used_bytes(), plan};
}

// Steps of one token per sequence are padded to so many rows, so that a device has few recordings to keep.
int64_t padded_rows(int64_t num_rows) {
  int64_t padded = 1;
  while (padded < num_rows) padded += padded < 16 ? padded : 16;
  return padded;
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
        staging(*device, device->is_host() ? 0 : measured.input_bytes),
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
    InputArena input_arena(device->is_host() ? on_device : staging.bytes(), on_device);
    model->take_workspace(arena, input_arena, kernels, limits);
    arrays.take(arena, input_arena, kernels, limits);
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
  }

  // Checks the batch against the limits and lays out where its rows belong.
  Step prepare(const Batch& batch);
  void place_sequence(const Batch::Sequence& sequence, int64_t index, int64_t first_row);
  void place_wanted_rows(const Batch& batch);
  void pad(Step& step);
  bool can_sample() const { return kernels.sample_rows != nullptr && model->info().vocab_size <= kMaxSampledVocab; }
  Model::Output forward(const Step& step, bool samples, uint64_t key);
  void sample(const Step& step, const float* step_logits);
  void fetch(const Batch& batch, Model::Output output);

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
  StagingBuffer staging;                 // of the inputs, for a device that is not the host
  std::optional<StagingBuffer> results;  // for such a device
  KvCache kv;
  std::unique_ptr<Model> model;
  StepArrays arrays;
  std::map<uint64_t, Model::Output> recorded;  // by the device's key
  std::span<const float> logits;
  std::span<const float> hidden;
  std::span<const int32_t> tokens;
  std::jthread populating;  // the last member: ended before what it works on
};

// Whether there is a prefix that all of them share. The host's kernels find out by themselves, a device's would have to
// be sent looking.
bool begin_alike(const std::vector<Batch::Sequence>& sequences) {
  return sequences.size() > 1 && std::ranges::all_of(sequences, [&](const Batch::Sequence& sequence) {
           return sequence.block_table[0] == sequences[0].block_table[0];
         });
}

void check_rows(const std::vector<int32_t>& rows, int64_t num_rows) {
  int32_t previous = -1;
  for (const int32_t row : rows) {
    CHECK(row > previous && row < num_rows);
    previous = row;
  }
}

void ModelRunner::Impl::place_sequence(const Batch::Sequence& sequence, int64_t index, int64_t first_row) {
  const int64_t length = sequence.first_position + sequence.num_tokens;
  CHECK(sequence.num_tokens > 0 && sequence.first_position >= 0 && length <= limits.max_context);
  const int64_t num_blocks = blocks_per_sequence(length);
  CHECK(static_cast<int64_t>(sequence.block_table.size()) >= num_blocks);
  for (int64_t i = 0; i < sequence.num_tokens; ++i) {
    const int64_t position = sequence.first_position + i;
    const auto row = static_cast<size_t>(first_row + i);
    const int64_t block = sequence.block_table[static_cast<size_t>(position / kKvBlockSize)];
    CHECK(block >= 0 && block < kv.num_blocks());
    arrays.positions[row] = position;
    arrays.length_limits[row] = sequence.length_limit > 0 ? sequence.length_limit : limits.max_context;
    arrays.slots.host[row] = block * kKvBlockSize + position % kKvBlockSize;
  }
  const int32_t* table = sequence.block_table.data();
  if (!limits.on_host) {
    std::copy_n(table, num_blocks, arrays.block_tables.host + index * arrays.table_size);
    table = arrays.block_tables.device + index * arrays.table_size;
  }
  arrays.sequences.host[index] = {.first_row = first_row,
                                  .num_rows = sequence.num_tokens,
                                  .first_position = sequence.first_position,
                                  .block_table = table};
}

void ModelRunner::Impl::place_wanted_rows(const Batch& batch) {
  const auto num_rows = static_cast<int64_t>(batch.token_ids.size());
  check_rows(batch.logit_rows, num_rows);
  check_rows(batch.hidden_rows, num_rows);
  CHECK(static_cast<int64_t>(batch.logit_rows.size() + batch.hidden_rows.size()) <= limits.max_logit_rows);
  int32_t* const after = std::ranges::copy(batch.logit_rows, arrays.wanted_rows.host).out;
  std::ranges::copy(batch.hidden_rows, after);
  if (batch.sampling.empty()) return;
  CHECK(can_sample() && batch.sampling.size() == batch.logit_rows.size());
  std::ranges::copy(batch.sampling, arrays.sampling.host);
}

Step ModelRunner::Impl::prepare(const Batch& batch) {
  const auto num_rows = static_cast<int64_t>(batch.token_ids.size());
  const auto num_sequences = static_cast<int64_t>(batch.sequences.size());
  CHECK(num_rows > 0 && num_rows <= limits.max_rows && num_sequences <= limits.max_sequences);
  for (const int32_t id : batch.token_ids) CHECK(id >= 0 && id < model->info().vocab_size);
  std::ranges::copy(batch.token_ids, arrays.token_ids.begin());
  place_wanted_rows(batch);
  int64_t row = 0;
  int64_t max_sequence_rows = 0;
  int64_t max_context = 0;
  for (int64_t i = 0; i < num_sequences; ++i) {
    const Batch::Sequence& sequence = batch.sequences[static_cast<size_t>(i)];
    CHECK(row + sequence.num_tokens <= num_rows);
    place_sequence(sequence, i, row);
    row += sequence.num_tokens;
    max_sequence_rows = std::max(max_sequence_rows, sequence.num_tokens);
    max_context = std::max(max_context, sequence.first_position + sequence.num_tokens);
  }
  CHECK(row == num_rows);
  return {.kernels = &kernels,
          .exec = exec,
          .device = device.get(),
          .kv = &kv,
          .num_rows = num_rows,
          .token_ids = arrays.token_ids.data(),
          .positions = arrays.positions.data(),
          .length_limits = arrays.length_limits.data(),
          .slots = arrays.slots.device,
          .sequences = arrays.sequences.device,
          .num_sequences = num_sequences,
          .max_sequence_rows = max_sequence_rows,
          .max_context = max_context,
          .share_prefixes = options.share_prefixes && (limits.on_host || begin_alike(batch.sequences)),
          .wanted_rows = arrays.wanted_rows.device,
          .num_logit_rows = static_cast<int64_t>(batch.logit_rows.size()),
          .num_hidden_rows = static_cast<int64_t>(batch.hidden_rows.size())};
}

// Rows of token 0 that are written nowhere and that nobody reads.
void ModelRunner::Impl::pad(Step& step) {
  const int64_t first = step.num_rows;
  step.num_rows = step.num_sequences = step.num_logit_rows = padded_rows(first);
  step.max_context =
      std::min(static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(step.max_context))), limits.max_context);
  for (int64_t row = first; row < step.num_rows; ++row) {
    const auto i = static_cast<size_t>(row);
    arrays.token_ids[i] = 0;
    arrays.positions[i] = 0;
    arrays.length_limits[i] = limits.max_context;
    arrays.slots.host[row] = -1;
    arrays.sequences.host[row] = {.first_row = row, .num_rows = 0, .first_position = 0, .block_table = nullptr};
    arrays.wanted_rows.host[row] = static_cast<int32_t>(row);
    if (arrays.tokens != nullptr) arrays.sampling.host[row] = {};
  }
}

Model::Output ModelRunner::Impl::forward(const Step& step, bool samples, uint64_t key) {
  model->prepare(step);
  Model::Output output;
  device->run(key, [&] {
    arrays.slots.upload(*device, step.num_rows);
    arrays.sequences.upload(*device, step.num_sequences);
    arrays.wanted_rows.upload(*device, step.num_logit_rows + step.num_hidden_rows);
    arrays.block_tables.upload(*device, step.num_sequences * arrays.table_size);
    output = model->forward(step);
    if (samples) sample(step, output.logits);
  });
  if (key == 0) return output;
  if (output.logits != nullptr) recorded[key] = output;
  return recorded.at(key);
}

void ModelRunner::Impl::sample(const Step& step, const float* step_logits) {
  arrays.sampling.upload(*device, step.num_logit_rows);
  kernels.sample_rows(exec, step_logits, step.num_logit_rows, static_cast<int>(model->info().vocab_size),
                      arrays.sampling.device, arrays.tokens);
}

// The results to the host, wherever they are.
void ModelRunner::Impl::fetch(const Batch& batch, Model::Output output) {
  const auto hidden_floats = batch.hidden_rows.size() * static_cast<size_t>(model->info().hidden_size);
  const size_t num_tokens = batch.sampling.size();
  const size_t num_logit_rows = num_tokens > 0 ? 0 : batch.logit_rows.size();
  const auto logit_floats = num_logit_rows * static_cast<size_t>(model->info().vocab_size);
  const int32_t* chosen = arrays.tokens;
  if (results) {
    std::byte* free_place = results->bytes().data();
    const auto download = [&]<typename T>(const T* from, size_t count) {
      T* const place = reinterpret_cast<T*>(free_place);
      free_place += count * sizeof(T);
      device->download(reinterpret_cast<std::byte*>(place), reinterpret_cast<const std::byte*>(from),
                       count * sizeof(T));
      return place;
    };
    output = {.logits = download(output.logits, logit_floats), .hidden = download(output.hidden, hidden_floats)};
    chosen = download(chosen, num_tokens);
  }
  tokens = {chosen, num_tokens};
  logits = {output.logits, logit_floats};
  hidden = {output.hidden, hidden_floats};
}

MemoryPlan ModelRunner::plan(const Checkpoint& checkpoint, const RunnerOptions& options) {
  return measure(checkpoint, options).plan;
}

ModelInfo ModelRunner::info(const Checkpoint& checkpoint) { return measure(checkpoint, {.device = "cpu"}).info; }

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
std::string ModelRunner::device() const { return impl_->device->description(); }

std::span<const float> ModelRunner::run(const Batch& batch) {
  Step step = impl_->prepare(batch);
  // A step of one token for every sequence comes again and again: such steps are worth a recording.
  const bool only_decodes = step.num_rows == step.num_sequences && step.num_logit_rows == step.num_rows;
  const int64_t padded = padded_rows(step.num_rows);
  const StepLimits& limits = impl_->limits;
  const bool has_room = padded <= std::min({limits.max_rows, limits.max_sequences, limits.max_logit_rows});
  const bool samples = !batch.sampling.empty();
  uint64_t key = 0;
  if (!limits.on_host && only_decodes && step.num_hidden_rows == 0 && has_room) {
    impl_->pad(step);
    key = static_cast<uint64_t>(step.num_rows) << 32 | static_cast<uint64_t>(step.max_context) << 2 |
          static_cast<uint64_t>(samples) << 1 | static_cast<uint64_t>(step.share_prefixes);
  }
  impl_->fetch(batch, impl_->forward(step, samples, key));
  return impl_->logits;
}

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
