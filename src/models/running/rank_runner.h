// One rank of a model: its part of the weights, its KV pool and activation workspace on its device, all sized before
// loading, and the steps that run with them. A model that is not divided is one rank.
//
// Owned by the model runner, which has all ranks do the same (model_runner.h says what). One thread makes a rank, has
// it run and ends it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <thread>

#include "base/thread_pool.h"
#include "models/loading/matmul_tuning.h"
#include "models/planning/load_plan.h"
#include "models/running/layer_stream.h"
#include "models/step_arrays.h"

namespace quire {

class RankRunner {
 public:
  using Progress = std::function<void(uint64_t done_bytes)>;

  // Loads the weights. `backend`: the rank's own.
  RankRunner(const Checkpoint& checkpoint, const LoadPlan& plan, Backend backend, Communicator& communicator,
             const Progress& progress);

  const Model& model() const { return *model_; }
  const ModelInfo& info() const { return model_->info(); }
  Device& device() { return *device_; }
  ThreadPool& pool() { return pool_; }
  KvCache& kv() { return kv_; }
  bool has_cached_weights() const { return !cached_weights_.bytes().empty(); }
  WeightReads weight_reads() const { return layer_stream_ ? layer_stream_->reads() : WeightReads{}; }
  bool can_sample() const;
  // The tokens that a step is promised are chosen where it reads them.
  bool runs_ahead() const { return can_sample(); }

  void observe(InputObserver* observer);
  void start(const Batch& batch);
  void finish();
  // Of the finished step.
  std::span<const float> logits() const { return logits_; }
  std::span<const float> hidden() const { return hidden_; }
  std::span<const float> tapped() const { return tapped_; }
  std::span<const int32_t> tokens() const { return tokens_; }

 private:
  // What was asked of a step, and where it lies on the device.
  struct Started {
    Model::Output output;
    size_t logit_floats = 0;
    size_t hidden_floats = 0;
    size_t tapped_floats = 0;
    size_t num_tokens = 0;
  };

  void load_model(const Checkpoint& checkpoint, const LoadPlan& plan, const Progress& progress);
  void load_streamed(const Checkpoint& checkpoint, const LoadPlan& plan, const MatmulTunings& tunings,
                     const std::optional<WeightCache>& cache, const Progress& progress);
  bool find_model(const Checkpoint& checkpoint, MappedFile packed, const MatmulTunings& tunings,
                  const WeightsWanted& wanted);
  void prepare_pool(bool populate);
  void make_room_for_results();
  Step prepare(const Batch& batch);
  Model::Output forward(const Step& step, bool samples, uint64_t key);
  // Where the host finds the tokens that a step of this buffer chose.
  int32_t* choices_of(int buffer);
  // Where the host finds `count` floats of the device; brought behind the first `first` of the results.
  const float* to_host(const float* from, size_t first, size_t count);

  const Kernels& kernels_;
  std::unique_ptr<Device> device_;
  Communicator& communicator_;
  StepLimits limits_;
  bool share_prefixes_;
  bool has_floats_;
  InputObserver* observer_ = nullptr;
  ThreadPool pool_;
  Exec exec_;
  DeviceBuffer weights_;                       // either packed here
  MappedFile cached_weights_;                  // or before
  std::unique_ptr<LayerStream> layer_stream_;  // or before, and read as they are needed
  DeviceBuffer workspace_;
  DeviceBuffer inputs_;
  StagingBuffer staging_;  // of the inputs, for each buffer
  StagingBuffer results_;  // logits, hidden states, tapped layers
  StagingBuffer choices_;  // tokens, for each buffer
  KvCache kv_;
  std::unique_ptr<Model> model_;
  StepArrays arrays_;
  std::map<uint64_t, Model::Output> outputs_;  // by the device's key: a recording leaves them in one place
  Started steps_[kInputBuffers];               // those in flight, by buffer
  int num_in_flight_ = 0;
  int next_buffer_ = 0;
  std::span<const float> logits_;
  std::span<const float> hidden_;
  std::span<const float> tapped_;
  std::span<const int32_t> tokens_;
  std::jthread populating_;  // the last member: ended before what it works on
};

}  // namespace quire
