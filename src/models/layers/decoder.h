// The decoder of every architecture: embedding; per layer norm, attention, norm and feed-forward around a residual
// stream; then the head. A stage of one (layer_range.h) may begin with the residual stream and end with it. Gemma also
// has norms after attention and feed-forward. Each layer's feed-forward is dense or a mixture of experts.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "models/layers/attention.h"
#include "models/layers/embedding.h"
#include "models/layers/head.h"
#include "models/layers/mlp.h"
#include "models/layers/moe.h"
#include "models/layers/norm.h"
#include "models/layers/rotary.h"
#include "models/model.h"

namespace quire {

struct DecoderLayer {
  Norm attention_norm;
  Attention attention;
  Norm post_attention_norm;  // on the block's output, before the residual; may not exist
  Norm feed_forward_norm;
  std::variant<Mlp, Moe> feed_forward;
  Norm post_feed_forward_norm;  // may not exist
};

struct DecoderParts {
  Embedding embedding;              // of the first stage
  std::vector<RopeSettings> ropes;  // distinct ones; Attention::rope is an index
  std::vector<DecoderLayer> layers;
  Head head;  // of the last stage
};

class Decoder : public Model {
 public:
  Decoder(ModelInfo info, DecoderParts parts);

  void take_workspace(Arena& arena, InputArena& inputs, const Kernels& kernels, const StepLimits& limits) override;
  void visit_matrices(const std::function<void(const Linear&)>& visit) const override;
  void prepare(const Step& step) override;
  Output forward(const Step& step) override;

 private:
  // The residual stream before the first layer.
  void begin(const Step& step);
  void run_attention(const Step& step, int index);
  void run_feed_forward(const Step& step, const DecoderLayer& layer);
  // Returns the step of the rows whose output is needed.
  Step run_last_layer(const Step& step);
  // Keeps the residual rows that are wanted before a tapped layer.
  void tap(const Step& step, int layer);
  // tapped_ with the taps of each row together.
  const float* taps_by_row(const Step& step);
  // Moves the residual rows whose output is needed to the front, those with logits first. Returns the step of only
  // these rows, for operations that treat each row separately.
  Step keep_wanted_rows(const Step& step);
  // Sums a block's output y [num_rows, hidden_size] over all ranks. Where y is the residual, rank 0 has added its part
  // and the others have written theirs.
  void sum_ranks(const Step& step, float* y) const;
  void add_block(const Step& step, const Norm& norm);

  Embedding embedding_;
  std::vector<Rotary> ropes_;
  std::vector<DecoderLayer> layers_;
  Head head_;

  // Of one step; shared by all layers.
  std::vector<StepInput<float>> cos_sin_;  // per rope: [max_rows, 2, half_dim]
  float* residual_ = nullptr;              // [max_rows, hidden_size] begins as the embedded rows
  float* normed_ = nullptr;                // [max_rows, hidden_size] a block's input, in either form
  PackedRows normed_packed_;
  float* block_ = nullptr;  // [max_rows, hidden_size] a block's output before it is added to the residual
  Attention::Buffers attention_buffers_;
  Mlp::Buffers mlp_buffers_;
  Moe::Buffers moe_buffers_;
  std::vector<int> tapped_layers_;
  float* tapped_ = nullptr;       // [num_taps, num_tapped_rows, hidden_size]
  float* taps_by_row_ = nullptr;  // [num_tapped_rows, num_taps, hidden_size]
};

}  // namespace quire
