// EAGLE (arXiv 2401.15077) and EAGLE-3 (arXiv 2503.01840): one decoder layer that guesses the target's next hidden
// state from its last one and the embedding of the token that follows.
//
// A step's row at position t brings the hidden state of the target's token t and the id of token t + 1; its logits are
// those of token t + 2. Where the target has not computed the state, the part's own state of the row before takes its
// place: that is the hidden output of a row. EAGLE multiplies both inputs into one (fc) and leaves the first norm out.
// EAGLE-3 makes the state from several layers of the target (fc), reads the two inputs beside each other in attention
// only, and may have a smaller vocabulary of its own. Its states come in two widths: those of the target's layers, and
// its own hidden_size.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "models/architectures/registry.h"
#include "models/layers/decoder.h"
#include "models/loading/decoder_parts.h"

namespace quire {
namespace {

struct EagleParts {
  Embedding embedding;
  RopeSettings rope;
  Linear fuse;                // EAGLE: [hidden, 2 * hidden]; EAGLE-3: [hidden, taps * hidden]
  Norm embedding_norm;        // EAGLE-3
  Norm state_norm;            // EAGLE-3
  bool keeps_normed = false;  // EAGLE-3: the residual stream begins as the normed state
  Attention attention;
  Norm feed_forward_norm;
  Mlp mlp;
  Norm final_norm;  // EAGLE-3; before the output matrix only
  Linear output;
};

class Eagle : public Model {
 public:
  Eagle(ModelInfo info, EagleParts parts) : Model(std::move(info)), parts_(std::move(parts)), rope_(parts_.rope) {}

  void take_workspace(Arena& arena, InputArena& inputs, const Kernels& kernels, const StepLimits& limits) override;
  void visit_matrices(const std::function<void(const Linear&)>& visit) const override;
  void prepare(const Step& step) override;
  Output forward(const Step& step) override;

 private:
  bool is_eagle3() const { return parts_.final_norm.exists(); }
  int64_t hidden() const { return info().hidden_size; }
  // pair_ = a beside b, both [num_rows, hidden_size] parts of halves_.
  void pair_halves(const Step& step);
  void begin(const Step& step);
  void begin3(const Step& step);
  void run_layer(const Step& step, const LinearInput& attention_input);
  Output finish(const Step& step);

  EagleParts parts_;
  Rotary rope_;
  StepInput<float> cos_sin_;      // [max_rows, 2, half_dim]
  StepInput<int32_t> pair_rows_;  // [2 * max_rows] rows of halves_ in the order of pair_
  int64_t max_rows_ = 0;
  float* halves_ = nullptr;    // [2, max_rows, hidden_size] embeddings, then states
  float* pair_ = nullptr;      // [max_rows, 2 * hidden_size]
  float* residual_ = nullptr;  // [max_rows, hidden_size]
  float* normed_ = nullptr;    // [max_rows, hidden_size]
  float* kept_ = nullptr;      // [max_rows, hidden_size]
  float* logits_ = nullptr;    // [max_logit_rows, logits_per_row]
  PackedRows packed_;          // of up to max(2 * hidden_size, hidden_input_size)
  Attention::Buffers attention_buffers_;
  Mlp::Buffers mlp_buffers_;
};

void Eagle::take_workspace(Arena& arena, InputArena& inputs, const Kernels& kernels, const StepLimits& limits) {
  max_rows_ = limits.max_rows;
  cos_sin_ = inputs.take<float>(max_rows_ * parts_.rope.dim);
  pair_rows_ = inputs.take<int32_t>(2 * max_rows_);
  if (!arena.counts_only()) rope_.remember(limits.remembered_positions);
  halves_ = arena.take<float>(2 * max_rows_ * hidden());
  pair_ = arena.take<float>(2 * max_rows_ * hidden());
  residual_ = arena.take<float>(max_rows_ * hidden());
  normed_ = arena.take<float>(max_rows_ * hidden());
  kept_ = arena.take<float>(max_rows_ * hidden());
  logits_ = arena.take<float>(info().num_logits(limits.max_logit_rows));
  packed_.take(arena, kernels, max_rows_, std::max(2 * hidden(), info().hidden_input_size));
  attention_buffers_.take(arena, kernels, limits, {&parts_.attention.sizes, 1});
  mlp_buffers_.take(arena, kernels, max_rows_, parts_.mlp.gate.weights.rows);
}

void Eagle::visit_matrices(const std::function<void(const Linear&)>& visit) const {
  const Attention& attention = parts_.attention;
  for (const Linear* matrix : {&parts_.fuse, &attention.q, &attention.k, &attention.v, &attention.o, &parts_.mlp.gate,
                               &parts_.mlp.up, &parts_.mlp.down, &parts_.output}) {
    visit(*matrix);
  }
}

void Eagle::prepare(const Step& step) {
  rope_.fill(step, cos_sin_.host(step.input_buffer));
  int32_t* const rows = pair_rows_.host(step.input_buffer);
  for (int64_t i = 0; i < step.num_rows; ++i) {
    rows[2 * i] = static_cast<int32_t>(i);
    rows[2 * i + 1] = static_cast<int32_t>(max_rows_ + i);
  }
}

Model::Output Eagle::forward(const Step& step) {
  cos_sin_.upload(*step.device, step.input_buffer, step.num_rows * parts_.rope.dim);
  pair_rows_.upload(*step.device, step.input_buffer, 2 * step.num_rows);
  parts_.embedding.apply(step, halves_);
  const InputForms forms = parts_.attention.input_forms();
  if (is_eagle3()) {
    begin3(step);
    run_layer(step, plain_input(step, pair_, step.num_rows, 2 * hidden(), forms, packed_));
  } else {
    begin(step);
    run_layer(step, plain_input(step, residual_, step.num_rows, hidden(), forms, packed_));
  }
  return finish(step);
}

void Eagle::pair_halves(const Step& step) {
  step.kernels->gather_rows(step.exec, reinterpret_cast<const std::byte*>(halves_),
                            static_cast<size_t>(hidden()) * sizeof(float), pair_rows_.device, 2 * step.num_rows,
                            reinterpret_cast<std::byte*>(pair_));
}

void Eagle::begin(const Step& step) {
  step.device->copy(reinterpret_cast<std::byte*>(halves_ + max_rows_ * hidden()),
                    reinterpret_cast<const std::byte*>(step.hidden_input),
                    static_cast<size_t>(step.num_rows * hidden()) * sizeof(float));
  pair_halves(step);
  linear(step, plain_input(step, pair_, step.num_rows, 2 * hidden(), forms_read_by({&parts_.fuse}), packed_),
         {{.linear = &parts_.fuse, .y = residual_}});
}

void Eagle::begin3(const Step& step) {
  if (step.hidden_input_width == hidden()) {
    step.device->copy(reinterpret_cast<std::byte*>(residual_), reinterpret_cast<const std::byte*>(step.hidden_input),
                      static_cast<size_t>(step.num_rows * hidden()) * sizeof(float));
  } else {
    linear(step,
           plain_input(step, step.hidden_input, step.num_rows, step.hidden_input_width, forms_read_by({&parts_.fuse}),
                       packed_),
           {{.linear = &parts_.fuse, .y = residual_}});
  }
  float* const state = halves_ + max_rows_ * hidden();
  parts_.embedding_norm.apply(step, halves_, step.num_rows, halves_);
  parts_.state_norm.apply(step, residual_, step.num_rows, state);
  if (parts_.keeps_normed) {
    step.device->copy(reinterpret_cast<std::byte*>(residual_), reinterpret_cast<const std::byte*>(state),
                      static_cast<size_t>(step.num_rows * hidden()) * sizeof(float));
  }
  pair_halves(step);
}

// residual_ [num_rows, hidden_size] -> that of the wanted rows.
void Eagle::run_layer(const Step& step, const LinearInput& attention_input) {
  parts_.attention.apply(step, attention_buffers_,
                         {.layer = 0,
                          .x = attention_input,
                          .cos_sin = cos_sin_.device,
                          .half_dim = rope_.half_dim(),
                          .y = residual_,
                          .accumulate = true});
  const int64_t num_rows = step.num_wanted_rows;
  if (num_rows == 0) return;
  const size_t row_bytes = static_cast<size_t>(hidden()) * sizeof(float);
  step.kernels->gather_rows(step.exec, reinterpret_cast<const std::byte*>(residual_), row_bytes, step.wanted_rows,
                            num_rows, reinterpret_cast<std::byte*>(kept_));
  const LinearInput input =
      normed_input(step, parts_.feed_forward_norm, kept_, num_rows, parts_.mlp.input_forms(), normed_, packed_);
  parts_.mlp.apply(step, mlp_buffers_, input, kept_, /*accumulate=*/true);
}

Model::Output Eagle::finish(const Step& step) {
  if (step.num_hidden_rows > 0) {
    step.kernels->gather_rows(step.exec, reinterpret_cast<const std::byte*>(kept_),
                              static_cast<size_t>(hidden()) * sizeof(float), step.hidden_places, step.num_hidden_rows,
                              reinterpret_cast<std::byte*>(residual_));
  }
  const Output output = {.logits = logits_, .hidden = residual_};
  const int64_t num_rows = step.num_logit_rows;
  if (num_rows == 0) return output;
  const InputForms forms = forms_read_by({&parts_.output});
  const LinearInput input = is_eagle3()
                                ? normed_input(step, parts_.final_norm, kept_, num_rows, forms, normed_, packed_)
                                : plain_input(step, kept_, num_rows, hidden(), forms, packed_);
  linear(step, input, {{.linear = &parts_.output, .y = logits_}});
  return output;
}

// What both kinds have. Rows of the tables say how many tokens there are.
DecoderConfig read_eagle_config(const Checkpoint& checkpoint) {
  DecoderConfig config = read_decoder_config(checkpoint);
  if (config.info.num_layers != 1) {
    fail(ErrorCode::kUnsupported, "{}: an EAGLE part of {} layers; this build knows those of one", checkpoint.name(),
         config.info.num_layers);
  }
  config.ropes = {read_rope(checkpoint.config(), config.info.head_dim)};
  ModelInfo& info = config.info;
  info.vocab_size = checkpoint.tensor("model.embed_tokens.weight").rows();
  info.logits_per_row = checkpoint.tensor("lm_head.weight").rows();
  info.kv_layers = {{.num_kv_heads = info.num_kv_heads, .head_dim = info.head_dim}};
  return config;
}

std::unique_ptr<Model> finish_eagle(WeightLoader& loader, const DecoderConfig& config, EagleParts parts) {
  ModelInfo info = config.info;
  parts.rope = config.ropes[0];
  parts.mlp = load_mlp(loader, config, 0);
  parts.feed_forward_norm = loader.norm("model.layers.0.post_attention_layernorm.weight", info.hidden_size,
                                        config.norm_eps, config.norm_offset);
  parts.output = loader.linear({"lm_head.weight", info.logits_per_row, info.hidden_size});
  parts.embedding = loader.embedding("model.embed_tokens.weight", info.vocab_size, info.hidden_size, nullptr);
  info.num_parameters = loader.num_parameters();
  return std::make_unique<Eagle>(std::move(info), std::move(parts));
}

}  // namespace

std::unique_ptr<Model> make_eagle(const Checkpoint& checkpoint, WeightLoader& loader) {
  DecoderConfig config = read_eagle_config(checkpoint);
  const int64_t hidden = config.info.hidden_size;
  config.info.hidden_input_size = hidden;
  EagleParts parts;
  parts.fuse = loader.linear({"fc.weight", hidden, 2 * hidden});
  if (loader.has("fc.bias")) parts.fuse.bias = loader.bias("fc.bias", hidden, Partition::kNone);
  parts.attention = load_attention(loader, config, 0, read_attention_biases(checkpoint.config()));
  return finish_eagle(loader, config, std::move(parts));
}

std::unique_ptr<Model> make_eagle3(const Checkpoint& checkpoint, WeightLoader& loader) {
  DecoderConfig config = read_eagle_config(checkpoint);
  const int64_t hidden = config.info.hidden_size;
  config.info.hidden_input_size = checkpoint.tensor("fc.weight").cols();
  if (config.info.hidden_input_size % hidden != 0 || config.info.hidden_input_size <= hidden) {
    fail(ErrorCode::kUnsupported, "{}: \"fc.weight\" has {} columns, expected those of two layers of {} or more",
         checkpoint.name(), config.info.hidden_input_size, hidden);
  }
  const auto norm = [&](const char* name) { return loader.norm(name, hidden, config.norm_eps, config.norm_offset); };
  EagleParts parts;
  parts.fuse = loader.linear({"fc.weight", hidden, config.info.hidden_input_size});
  parts.embedding_norm = norm("model.layers.0.input_layernorm.weight");
  parts.state_norm = norm("model.layers.0.hidden_norm.weight");
  parts.keeps_normed = find_bool(checkpoint.config(), "norm_before_residual", false);
  AttentionForm form = read_attention_biases(checkpoint.config());
  form.input_size = 2 * hidden;
  parts.attention = load_attention(loader, config, 0, form);
  parts.final_norm = norm("model.norm.weight");
  return finish_eagle(loader, config, std::move(parts));
}

}  // namespace quire
