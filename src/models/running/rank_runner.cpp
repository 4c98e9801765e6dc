#include "models/running/rank_runner.h"

#include <sched.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/direct_file.h"
#include "base/error.h"
#include "base/log.h"
#include "models/architectures/registry.h"
#include "models/loading/weight_loader.h"

namespace quire {

namespace {

std::vector<KvBlockCounts> block_counts(const MemoryPlan& memory) {
  std::vector<KvBlockCounts> counts;
  for (const KvGroupPlan& group : memory.kv_groups) {
    counts.push_back({.pool = group.num_blocks, .host = group.num_host_blocks});
  }
  return counts;
}

ThreadPlaces places_of_rank(const LoadPlan& plan, int rank, int num_threads) {
  if (plan.places.empty()) return {};
  ThreadPlaces places;
  for (int i = 0; i < num_threads; ++i) {
    places.push_back(plan.places[static_cast<size_t>(rank * num_threads + i) % plan.places.size()]);
  }
  return places;
}

}  // namespace

static_assert(kInputBuffers == Device::kNumMarks);  // a step in flight has one of each

RankRunner::RankRunner(const Checkpoint& checkpoint, const LoadPlan& plan, Backend backend, Communicator& communicator,
                       const Progress& progress)
    : kernels_(*backend.kernels),
      device_(std::move(backend.device)),
      communicator_(communicator),
      limits_(limits_of(plan, device_->is_host())),
      share_prefixes_(plan.options.share_prefixes),
      has_floats_(plan.options.weight_format == Format::kF32),
      pool_(limits_.num_threads, places_of_rank(plan, communicator.rank(), limits_.num_threads)),
      exec_(make_exec(pool_, device_->stream())),
      workspace_(*device_, plan.workspace_bytes),
      inputs_(*device_, plan.input_bytes),
      staging_(*device_, kInputBuffers * plan.input_bytes),
      kv_(plan.kv, *device_, block_counts(plan.memory)) {
  // Any thread may read any block. Ranks that divide the nodes among them touch theirs first.
  if (!plan.places.empty() && communicator_.size() == 1) kv_.spread_over_nodes();
  load_model(checkpoint, plan, progress);
  checkpoint.release_pages();
  Arena arena(workspace_);
  const std::span<std::byte> on_device(inputs_.data(), inputs_.size_bytes());
  InputArena input_arena(staging_.bytes(), on_device);
  model_->take_workspace(arena, input_arena, kernels_, limits_);
  arrays_.take(arena, input_arena, limits_);
  exec_.scratch = arena.take_bytes(kernels_.scratch_bytes);
  prepare_pool(plan.options.populate_kv);
  make_room_for_results();
}

void RankRunner::load_model(const Checkpoint& checkpoint, const LoadPlan& plan, const Progress& progress) {
  // What threads pack lies near to the processors that they pack on.
  const BoundThread bound = pool_.bind_caller();
  const WeightsWanted wanted = weights_wanted(plan.options, communicator_.rank());
  MatmulTunings tunings;
  if (device_->is_host()) {
    tunings = load_tuning(plan.options.tuning_file, kernels_.name, kernels_.activations, limits_.num_threads);
  }
  const std::optional<WeightCache> cache = weight_cache_of(checkpoint, plan, kernels_, *device_, communicator_.rank());
  if (plan.stream) return load_streamed(checkpoint, plan, tunings, cache, progress);
  bool refreshes_cache = cache && (cache->exists() || plan.options.fills_weight_cache);
  if (cache) {
    WeightCache::Opened opened = cache->open(exec_);
    if (opened.file && find_model(checkpoint, std::move(*opened.file), tunings, wanted)) return;
    refreshes_cache = refreshes_cache && opened.may_be_replaced;
  }
  weights_ = DeviceBuffer(*device_, plan.weight_bytes);
  WeightLoader loader(checkpoint, kernels_, exec_, *device_, {weights_.data(), weights_.size_bytes()},
                      std::move(tunings), progress, wanted);
  model_ = make_model(checkpoint, loader);
  device_->synchronize();
  if (refreshes_cache) cache->write({weights_.data(), weights_.size_bytes()}, exec_);
}

// From a file of packed weights, written first where there is none. Memory never holds the whole model.
void RankRunner::load_streamed(const Checkpoint& checkpoint, const LoadPlan& plan, const MatmulTunings& tunings,
                               const std::optional<WeightCache>& cache, const Progress& progress) {
  if (!cache) {
    fail(ErrorCode::kUnsupported,
         "{} is larger than the memory that is allowed, and its packed weights cannot be kept in '{}' to be read from "
         "there: it needs a model that lies in a file, and a program with a build id",
         checkpoint.name(), printable(plan.options.weight_cache));
  }
  const WeightsWanted wanted = weights_wanted(plan.options, communicator_.rank());
  WeightCache::Opened opened = cache->open(exec_, /*keeps_pages=*/false);
  if (!opened.file) {
    log::info("{} is larger than the memory that is allowed: its packed weights, {} MiB, are written to '{}' once",
              checkpoint.name(), plan.weight_bytes >> 20, printable(cache->path().string(), 400));
    cache->create(
        [&](std::span<std::byte> memory) {
          WeightLoader loader(checkpoint, kernels_, exec_, *device_, memory, tunings, progress, wanted);
          make_model(checkpoint, loader);
        },
        exec_);
    opened = cache->open(exec_, /*keeps_pages=*/false);
  }
  if (!opened.file) {
    fail(ErrorCode::kIo,
         "the packed weights '{}' cannot be used, and {} is larger than the memory that is allowed: name another "
         "folder (--weight-cache), or allow more memory (--memory)",
         printable(cache->path().string()), checkpoint.name());
  }
  const auto file = std::make_shared<DirectFile>(opened.file->path());
  if (file->inode() != opened.file->state().inode) {
    fail(ErrorCode::kIo, "'{}' was replaced while it was opened: start again", printable(file->path().string()));
  }
  layer_stream_ = std::make_unique<LayerStream>(
      *plan.stream, [file](uint64_t offset, std::span<std::byte> to) { file->read(offset, to); },
      LayerStream::Options{.wants_huge_pages = plan.options.pages == PageSize::kHuge});
  WeightLoader loader(checkpoint, kernels_, opened.file->bytes(), tunings, wanted,
                      [this](uint64_t offset) { return layer_stream_->place_of(offset); });
  model_ = make_model(checkpoint, loader);
}

// Whether all weights were found packed.
bool RankRunner::find_model(const Checkpoint& checkpoint, MappedFile packed, const MatmulTunings& tunings,
                            const WeightsWanted& wanted) {
  try {
    WeightLoader loader(checkpoint, kernels_, packed.bytes(), tunings, wanted);
    model_ = make_model(checkpoint, loader);
  } catch (const Error& error) {
    log::warning("the cached weights '{}' are not used: {}", printable(packed.path().string()), error.what());
    return false;
  }
  cached_weights_ = std::move(packed);
  return true;
}

// The first token writes into every layer's pool, each on pages of its own: provided here by all threads, they would
// otherwise be cleared one after the other in the first step.
void RankRunner::prepare_pool(bool populate) {
  std::vector<KvLayer> layers;
  for (int group = 0; group < kv_.num_groups(); ++group) {
    for (int i = 0; i < kv_.layout().groups[static_cast<size_t>(group)].num_layers; ++i) {
      layers.push_back(kv_.at({group, i}));
    }
  }
  pool_.parallel_for(static_cast<int64_t>(layers.size()), [&](int64_t i, int) {
    const KvLayer& layer = layers[static_cast<size_t>(i)];
    device_->provide_page(layer.k);
    device_->provide_page(layer.v);
  });
  if (!populate) return;
  populating_ = std::jthread([this](const std::stop_token& stop) {
    const sched_param idle{};
    ::sched_setscheduler(0, SCHED_IDLE, &idle);  // of this thread; a failure only makes it less polite
    kv_.populate(stop);
  });
}

void RankRunner::make_room_for_results() {
  choices_ = StagingBuffer(*device_, kInputBuffers * static_cast<size_t>(limits_.max_logit_rows) * sizeof(int32_t));
  if (communicator_.rank() > 0) return;  // nobody asks for its results
  const int64_t hidden_floats = (1 + limits_.num_taps()) * model_->info().hidden_size;
  const int64_t floats = model_->info().num_logits(limits_.max_logit_rows) + limits_.max_hidden_rows * hidden_floats;
  results_ = StagingBuffer(*device_, static_cast<size_t>(floats) * sizeof(float));
}

void RankRunner::observe(InputObserver* observer) {
  CHECK(device_->is_host() && communicator_.size() == 1 && has_floats_);
  observer_ = observer;
}

bool RankRunner::can_sample() const { return model_->info().vocab_size <= kernels_.max_sampled_vocab; }

int32_t* RankRunner::choices_of(int buffer) {
  const std::span<std::byte> staging = choices_.bytes();
  if (staging.empty()) return arrays_.tokens();
  return reinterpret_cast<int32_t*>(staging.data()) + buffer * limits_.max_logit_rows;
}

void RankRunner::start(const Batch& batch) {
  // What wants more than tokens reads it from where the next step writes.
  const Started& before = steps_[kInputBuffers - 1 - next_buffer_];
  CHECK(num_in_flight_ == 0 || (runs_ahead() && num_in_flight_ < kInputBuffers && before.logit_floats == 0 &&
                                before.hidden_floats == 0 && before.tapped_floats == 0));
  const BoundThread bound = pool_.bind_caller();
  Step step = prepare(batch);
  const bool samples = !batch.sampling.empty();
  uint64_t key = 0;
  if (device_->records() && arrays_.is_recurrent(step)) {
    arrays_.pad(step);
    key = static_cast<uint64_t>(step.num_rows) << 32 | static_cast<uint64_t>(step.max_context) << 3 |
          static_cast<uint64_t>(step.input_buffer) << 2 | static_cast<uint64_t>(samples) << 1 |
          static_cast<uint64_t>(step.begin_alike);
  }
  const ModelInfo& info = model_->info();
  const int64_t num_logit_rows = samples ? 0 : static_cast<int64_t>(batch.logit_rows.size());
  const auto hidden_size = static_cast<size_t>(info.hidden_size);
  steps_[next_buffer_] = {.output = forward(step, samples, key),
                          .logit_floats = static_cast<size_t>(info.num_logits(num_logit_rows)),
                          .hidden_floats = batch.hidden_rows.size() * hidden_size,
                          .tapped_floats = batch.tapped_rows.size() * limits_.tapped_layers.size() * hidden_size,
                          .num_tokens = batch.sampling.size()};
  device_->mark(next_buffer_);
  next_buffer_ = (next_buffer_ + 1) % kInputBuffers;
  ++num_in_flight_;
}

Step RankRunner::prepare(const Batch& batch) {
  const Started& before = steps_[kInputBuffers - 1 - next_buffer_];
  Step step = arrays_.place(batch, next_buffer_,
                            {.vocab_size = model_->info().vocab_size,
                             .hidden_size = model_->info().hidden_size,
                             .kv = &kv_,
                             .can_sample = can_sample(),
                             .num_chosen = static_cast<int64_t>(before.num_tokens)});
  step.kernels = &kernels_;
  step.exec = exec_;
  step.device = device_.get();
  step.kv = &kv_;
  step.communicator = &communicator_;
  step.observer = observer_;
  step.layer_weights = layer_stream_.get();
  // Where it chooses tokens, the next step reads them.
  step.wants_output = can_sample() || communicator_.rank() == 0;
  step.share_prefixes = share_prefixes_;
  return step;
}

Model::Output RankRunner::forward(const Step& step, bool samples, uint64_t key) {
  model_->prepare(step);
  Model::Output& output = outputs_[key];
  device_->run(key, [&] {
    arrays_.upload(*device_, step, samples);
    output = model_->forward(step);
    if (!samples) return;
    kernels_.sample_rows(exec_, output.logits, step.num_logit_rows, static_cast<int>(model_->info().vocab_size),
                         arrays_.sampling(), arrays_.tokens());
    device_->download_staged(reinterpret_cast<std::byte*>(choices_of(step.input_buffer)),
                             reinterpret_cast<const std::byte*>(arrays_.tokens()),
                             static_cast<size_t>(step.num_logit_rows) * sizeof(int32_t));
  });
  return output;
}

// The results of the step that was started first to the host, wherever they are.
void RankRunner::finish() {
  CHECK(num_in_flight_ > 0);
  const int buffer = (next_buffer_ + kInputBuffers - num_in_flight_) % kInputBuffers;
  --num_in_flight_;
  device_->wait_for(buffer);
  const Started& step = steps_[buffer];
  logits_ = {to_host(step.output.logits, 0, step.logit_floats), step.logit_floats};
  hidden_ = {to_host(step.output.hidden, step.logit_floats, step.hidden_floats), step.hidden_floats};
  const size_t first_tapped = step.logit_floats + step.hidden_floats;
  tapped_ = {to_host(step.output.tapped, first_tapped, step.tapped_floats), step.tapped_floats};
  tokens_ = {choices_of(buffer), step.num_tokens};
}

const float* RankRunner::to_host(const float* from, size_t first, size_t count) {
  const std::span<std::byte> staging = results_.bytes();
  if (staging.empty()) return from;
  std::byte* const to = staging.data() + first * sizeof(float);
  if (count > 0) device_->download(to, reinterpret_cast<const std::byte*>(from), count * sizeof(float));
  return reinterpret_cast<const float*>(to);
}

}  // namespace quire
