// Loads a model and runs batches: the only way from the engine to arithmetic.
//
// Owns weights, KV pool and activation workspace, all sized before loading; a step allocates nothing and throws nothing
// for a batch inside the limits, unless its weights are larger than memory and their disk fails. With tensor
// parallelism it is several ranks that go in step (rank_runner.h), each with a part of every layer, and what it hands
// out is rank 0's. One thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "models/batch.h"
#include "models/layer_weights.h"
#include "models/loading/checkpoint.h"
#include "models/loading/matmul_tuning.h"
#include "models/model.h"
#include "models/runner_options.h"

namespace quire {

class ModelRunner {
 public:
  // Reads no weights. Throws Error for an architecture, format or configuration this build does not know.
  static MemoryPlan plan(const Checkpoint& checkpoint, const RunnerOptions& options);
  static ModelInfo info(const Checkpoint& checkpoint);
  // The distinct matrices that its steps multiply by, with this kernel table.
  static std::set<MatrixShape> matrices(const Checkpoint& checkpoint, const Kernels& kernels);
  // Throws Error kOutOfMemory with the ledger's numbers and the settings that would fit. The checkpoint must outlive
  // the runner: on the host embedding rows are read from its mapping.
  static std::unique_ptr<ModelRunner> load(const Checkpoint& checkpoint, const RunnerOptions& options,
                                           const LoadProgress& progress = {});
  ~ModelRunner();

  const ModelInfo& info() const;
  const MemoryPlan& plan() const;
  // Of a model that is larger than memory. Any thread.
  WeightReads weight_reads() const;
  const RunnerOptions& options() const;  // with every 0 and empty name replaced by what was chosen
  const char* isa() const;               // the kernel table's name
  std::string device() const;            // for people: Device::description
  // What logits are multiplied by, for a part on the same device that shares it; null where ranks divide it and where
  // there is none.
  const Linear* output_matrix() const;
  // Whether the runner can choose tokens (Batch::sampling).
  bool can_sample() const;
  // Has `observer` see the inputs of all matrices in the steps that follow; null: nobody. Only for one rank on the host
  // whose RunnerOptions::weight_format is F32.
  void observe(InputObserver* observer);
  // Has a step computed. On a device other than the host it returns when the step is queued, and with runs_ahead() a
  // second one may be started before the first is finished, if that one wants nothing but tokens (Batch::sampling).
  void start(const Batch& batch);
  // Waits for the step that was started first. Logits of its logit_rows: [logit_rows.size(), vocab_size] float32, valid
  // until the next start. None when it wants tokens.
  std::span<const float> finish();
  std::span<const float> run(const Batch& batch);  // both
  // Whether two steps may be in flight, the tokens of the second being those that the first chooses (chosen_token).
  bool runs_ahead() const;
  // The tokens that the finished step chose: [sampling.size()], as long valid as its logits; -1 where logits hold a NaN
  // or nothing finite.
  std::span<const int32_t> tokens() const;
  // Final hidden states of its hidden_rows, or of a stage before the last their residual stream: [hidden_rows.size(),
  // hidden_size] float32, as long valid.
  std::span<const float> hidden() const;
  // The residual stream before each of RunnerOptions::tapped_layers: [tapped_rows.size(), tapped_layers.size(),
  // hidden_size] float32, as long valid.
  std::span<const float> tapped() const;
  // Returns when everything that was started or moved is done; its results still wait for finish().
  void wait();
  // Calls body(i, thread) for i in [0, count) on the runner's threads, between runs, thread in [0, num_host_threads()).
  // The body must not throw.
  void parallel_for(int64_t count, const std::function<void(int64_t, int)>& body);
  int num_host_threads() const;
  // Copies a block's K and V. A block of the host tier is complete when it returns, one of the pool for all steps that
  // start later.
  void move(const KvMove& move);
  // The memory of a block in the pools of all ranks, always in the same order. Only on the host, and only between a
  // step that has finished and the next one if the block is in use.
  std::vector<std::span<std::byte>> block_parts(int group, int32_t block);
  // The same of every KV group, for those who keep one table for all of them.
  void copy_block(int32_t from, int32_t to);
  void swap_out(int32_t block, int32_t place);
  void swap_in(int32_t place, int32_t block);

 private:
  struct Impl;
  void move_everywhere(KvPlace from, KvPlace to);
  explicit ModelRunner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
