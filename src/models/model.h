// A loaded architecture: one step's rows in, logits out.
//
// One file per architecture builds a Model from layers/. Owned by the model runner and called by its thread only; one
// virtual call per step.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "models/arena.h"
#include "models/kv_layout.h"
#include "models/pooling.h"
#include "models/step.h"

namespace quire {

struct Linear;

// What the rest of the program may know about a model.
struct ModelInfo {
  std::string architecture;  // "LlamaForCausalLM"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int64_t max_context = 0;         // positions that the model was trained for
  std::vector<LayerKv> kv_layers;  // of every layer
  int num_experts = 0;             // 0 = dense
  int num_experts_per_token = 0;
  uint64_t num_parameters = 0;
  bool tied_embeddings = false;
  bool has_head = true;    // without: hidden states only, no logits
  EmbeddingUse embedding;  // as the file says
  // > 0: sequences longer than this use other RoPE factors for all their positions (LongRoPE), so that K and V of a
  // sequence that passes it are computed again, and those of longer and shorter ones never shared.
  int64_t rope_switch_length = 0;
  // > 0: a part that drafts, or a stage that is not the first. Each row brings so many floats of another model's hidden
  // states, or of the residual stream (Batch::hidden_input).
  int64_t hidden_input_size = 0;
  // Where they are not vocab_size: of several predictions for each row, or over fewer tokens than may be fed.
  int64_t logits_per_row = 0;
  int64_t num_logits(int64_t num_rows) const { return num_rows * (logits_per_row > 0 ? logits_per_row : vocab_size); }
  // Of a sequence of this many tokens, Batch::Sequence::is_long.
  bool is_long(int64_t num_tokens) const { return rope_switch_length > 0 && num_tokens > rope_switch_length; }
};

class Model {
 public:
  explicit Model(ModelInfo info) : info_(std::move(info)) {}
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const ModelInfo& info() const { return info_; }
  // Takes the activations of steps within `limits` from the arenas; null pointers while they count.
  virtual void take_workspace(Arena& arena, InputArena& inputs, const Kernels& kernels, const StepLimits& limits) = 0;
  // Calls `visit` for every matrix that multiplies, each once: layer by layer, then the head's.
  virtual void visit_matrices(const std::function<void(const Linear&)>& visit) const = 0;
  struct Output {
    const float* logits = nullptr;  // [num_logit_rows, vocab_size], or as the architecture says (logits_per_row)
    // [num_hidden_rows, hidden_size] after the final norm; of a stage that does not have it, the residual stream
    const float* hidden = nullptr;
    const float* tapped = nullptr;  // [num_tapped_rows, num_taps, hidden_size]
  };
  // The host's work for a step before its kernels run: computes angles.
  virtual void prepare(const Step& step) = 0;
  // Runs the kernels of the prepared step. Steps with equal counts make the same calls, whatever their arrays hold, so
  // that a device may record them. The output lies on the device and is valid until the next call. Neither allocates.
  virtual Output forward(const Step& step) = 0;

 private:
  ModelInfo info_;
};

}  // namespace quire
