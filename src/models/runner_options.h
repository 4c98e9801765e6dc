// What a caller chooses about a running model, and the ledger of the memory that the choices take.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/select.h"
#include "models/layer_range.h"
#include "parallel/communicator.h"
#include "tensor/format.h"

namespace quire {

struct RunnerOptions {
  std::optional<LayerRange> stage = {};  // the layers to run; none: all
  // WeightsWanted::format: matrices are quantised while they are loaded; F32: all become floats.
  std::optional<Format> weight_format = {};
  int num_threads = 0;      // of all ranks; 0 = every processor this process may use
  int tensor_parallel = 1;  // ranks that share the model: threads on the CPU, else devices 0, 1, ...
  std::string device = {};  // "cpu", "cuda"; empty = the best there is
  std::string isa = {};     // the CPU's kernel table by name; empty = the best
  Activations activations = kUsualActivations;  // what weights of integer codes are multiplied by
  bool one_answer = true;                       // false: results of a device may depend on the batch (BackendChoice)
  int64_t max_batch_tokens = 512;               // tokens of one step
  int64_t max_sequences = 16;                   // sequences of one step
  int64_t max_branches = 0;     // branches of all their trees of drafts together (Batch::Sequence); 0: no trees
  int64_t max_logit_rows = 0;   // rows of one step whose logits are wanted; 0 = max_batch_tokens
  int64_t max_hidden_rows = 0;  // rows of one step whose hidden states are wanted; 0 = max_logit_rows
  // Layers before which the residual stream of Batch::tapped_rows can be had, ascending (EAGLE-3, arXiv 2503.01840).
  std::vector<int> tapped_layers = {};
  int64_t max_context = 0;  // positions of one sequence; 0 = the model's own
  // KV blocks of a group of layers that sees everything; those with a window need fewer (planning/memory_plan.h).
  // 0 = max_sequences x max_context, or what fits memory_bytes.
  int64_t num_blocks = 0;
  // Layers with a window keep what lies before it too: for callers that give no block back.
  bool keep_all_positions = false;
  Format k_format = Format::kF16;
  Format v_format = Format::kF16;
  bool kv_hadamard = true;     // spread outliers of heads before K and V become codes of few bits; off: to measure it
  bool share_prefixes = true;  // sequences of a step that begin with the same blocks read them once: only faster
  // Host memory for blocks of preempted sequences, of the same groups in the same proportions; 0 = as many as
  // swap_bytes hold.
  int64_t num_swap_blocks = 0;
  uint64_t swap_bytes = 0;
  // Take the KV pool's memory in the background after loading, while the machine is idle, instead of at the first use
  // of each block, which would stretch that step.
  bool populate_kv = false;
  uint64_t memory_bytes = 0;  // allowed in all; 0 = what the machine and the cgroup leave
  // What each host thread keeps per token of the vocabulary to choose tokens: the engine's memory, counted here.
  uint64_t sampling_bytes_per_token = 0;
  // What `quire tune` wrote (matmul_tuning.h): only faster. Empty = the defaults; a file that is not there is none.
  std::string tuning_file = {};
  // The folder of files with packed weights (loading/weight_cache.h): only a faster start. Files that are there are
  // used and kept up to date, on the host; empty: none is.
  std::string weight_cache = {};
  // Write also what is not there yet, and use it even where threads are placed on several memory nodes.
  bool fills_weight_cache = false;
  // Where the host's threads run: a choice of place_threads (base/thread_placement.h).
  std::string processors = "auto";
  // Of weights, KV and workspace on the host: only faster.
  PageSize pages = PageSize::kHuge;
  // What "cuda" computes with; tests have an emulation.
  BackendFactory cuda = cuda_backends();
  CommunicatorFactory make_cuda_communicators = make_device_communicators;
};

// A group of layers with one shape and one reach, in the ledger (kv_layout.h).
struct KvGroupPlan {
  int num_layers = 0;
  int64_t window = 0;           // positions that a token sees; 0 = all
  uint64_t block_bytes = 0;     // over all its layers
  int64_t num_blocks = 0;       // of its pool
  int64_t num_host_blocks = 0;  // of its swap space
  uint64_t kv_bytes = 0;        // of the pool
};

// Weights that do not stay in memory, in the ledger (planning/stream_plan.h).
struct StreamedWeights {
  int num_layers = 0;  // that are read in every step; 0: all weights stay
  int num_resident_layers = 0;
  uint64_t bytes = 0;         // of these layers
  uint64_t buffer_bytes = 0;  // that they share
};

// The ledger: what a model will take, line by line, computed from headers alone; all ranks together.
struct MemoryPlan {
  uint64_t weight_bytes = 0;  // packed, as the kernel table wants them
  StreamedWeights streamed;   // of the weights; in the total: weight_bytes - streamed.bytes + streamed.buffer_bytes
  uint64_t cached_bytes =
      0;  // how many of these would be mapped from the weight cache: shared, and the system's to drop
  uint64_t mapped_bytes = 0;  // the embedding table where the host reads it from the file's mapping; in the total
  uint64_t kv_bytes = 0;
  uint64_t kv_bytes_per_token = 0;     // of a position that every layer keeps
  std::vector<KvGroupPlan> kv_groups;  // those that reach furthest first
  uint64_t swap_bytes = 0;
  int64_t num_blocks = 0;        // of a group that keeps everything
  int64_t num_swap_blocks = 0;   // likewise
  uint64_t workspace_bytes = 0;  // activations, logits, attention workspace
  uint64_t sampling_bytes = 0;   // of the threads that choose tokens; 0 where a device's memory is planned
  uint64_t total_bytes = 0;
  uint64_t allowed_bytes = 0;
  bool is_of_host = true;  // and not of a device
  int num_ranks = 1;
  uint64_t rank_bytes = 0;  // of the total, what each takes for itself: all but what is mapped
  bool fits = false;
  std::string advice;  // when it does not fit: the settings that would
};

using LoadProgress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

}  // namespace quire
