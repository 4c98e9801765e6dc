#include "models/layers/decoder.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {

Decoder::Decoder(ModelInfo info, DecoderParts parts)
    : Model(std::move(info)),
      embedding_(parts.embedding),
      ropes_(parts.ropes.begin(), parts.ropes.end()),
      layers_(std::move(parts.layers)),
      head_(parts.head) {
  CHECK(!layers_.empty() && !ropes_.empty());
}

void Decoder::take_workspace(Arena& arena, InputArena& inputs, const Kernels& kernels, const StepLimits& limits) {
  const AttentionSizes& sizes = layers_[0].attention.sizes;
  const int64_t rows = limits.max_rows;
  residual_ = arena.take<float>(rows * sizes.hidden_size);
  normed_ = arena.take<float>(rows * sizes.hidden_size);
  normed_packed_.take(arena, kernels, rows, sizes.hidden_size);
  block_ = arena.take<float>(rows * sizes.hidden_size);
  cos_sin_.clear();
  for (Rotary& rope : ropes_) {
    cos_sin_.push_back(inputs.take<float>(rows * rope.settings().dim));
    if (!arena.counts_only()) rope.remember(limits.remembered_positions);
  }
  std::vector<AttentionSizes> attention_sizes;
  for (const DecoderLayer& layer : layers_) attention_sizes.push_back(layer.attention.sizes);
  attention_buffers_.take(arena, kernels, limits, attention_sizes);

  int64_t dense_size = 0;
  const Moe* moe = nullptr;
  for (const DecoderLayer& layer : layers_) {
    if (const Mlp* mlp = std::get_if<Mlp>(&layer.feed_forward))
      dense_size = std::max(dense_size, mlp->gate.weights.rows);
    if (const Moe* found = std::get_if<Moe>(&layer.feed_forward)) moe = found;
  }
  if (dense_size > 0) mlp_buffers_.take(arena, kernels, rows, dense_size);
  if (moe != nullptr) moe_buffers_.take(arena, kernels, limits, *moe);
  if (head_.norm.exists()) head_.take_workspace(arena, kernels, limits);
  tapped_layers_ = limits.tapped_layers;
  const int64_t tapped_size = limits.num_taps() * limits.max_hidden_rows * sizes.hidden_size;
  tapped_ = arena.take<float>(tapped_size);
  taps_by_row_ = arena.take<float>(tapped_size);
}

void Decoder::visit_matrices(const std::function<void(const Linear&)>& visit) const {
  const auto visit_mlp = [&](const Mlp& mlp) {
    for (const Linear* matrix : {&mlp.gate, &mlp.up, &mlp.down}) visit(*matrix);
  };
  for (const DecoderLayer& layer : layers_) {
    const Attention& attention = layer.attention;
    for (const Linear* matrix : {&attention.q, &attention.k, &attention.v, &attention.o}) visit(*matrix);
    if (const auto* mlp = std::get_if<Mlp>(&layer.feed_forward)) {
      visit_mlp(*mlp);
    } else {
      const Moe& moe = std::get<Moe>(layer.feed_forward);
      visit(moe.router);
      for (const Mlp& expert : moe.experts) visit_mlp(expert);
    }
  }
  if (info().has_head) visit(head_.output);
}

void Decoder::prepare(const Step& step) {
  for (size_t i = 0; i < ropes_.size(); ++i) ropes_[i].fill(step, cos_sin_[i].host(step.input_buffer));
}

Model::Output Decoder::forward(const Step& step) {
  for (size_t i = 0; i < ropes_.size(); ++i) {
    cos_sin_[i].upload(*step.device, step.input_buffer, step.num_rows * ropes_[i].settings().dim);
  }
  begin(step);
  const int last_layer = static_cast<int>(layers_.size()) - 1;
  for (int i = 0; i < last_layer; ++i) {
    const LayerUse use(step.layer_weights, i);
    tap(step, i);
    run_attention(step, i);
    run_feed_forward(step, layers_[static_cast<size_t>(i)]);
  }
  const Step last = run_last_layer(step);
  if (!step.wants_output) return {};
  // Without a head no row has logits, so the wanted rows are those whose hidden states are wanted.
  Output output = head_.norm.exists() ? head_.apply(last, residual_, block_) : Output{.hidden = residual_};
  output.tapped = taps_by_row(step);
  return output;
}

Step Decoder::run_last_layer(const Step& step) {
  const int index = static_cast<int>(layers_.size()) - 1;
  const LayerUse use(step.layer_weights, index);
  tap(step, index);
  run_attention(step, index);
  // After the last attention the other rows are not read.
  const Step last = keep_wanted_rows(step);
  if (last.num_rows > 0) run_feed_forward(last, layers_.back());
  return last;
}

void Decoder::begin(const Step& step) {
  const int64_t width = info().hidden_input_size;
  if (width == 0) return embedding_.apply(step, residual_);
  step.device->copy(reinterpret_cast<std::byte*>(residual_), reinterpret_cast<const std::byte*>(step.hidden_input),
                    static_cast<size_t>(step.num_rows * width) * sizeof(float));
}

void Decoder::tap(const Step& step, int layer) {
  const auto found = std::ranges::find(tapped_layers_, layer);
  if (found == tapped_layers_.end() || step.num_tapped_rows == 0) return;
  const int64_t row_size = layers_[0].attention.sizes.hidden_size;
  float* const to = tapped_ + (found - tapped_layers_.begin()) * step.num_tapped_rows * row_size;
  step.kernels->gather_rows(step.exec, reinterpret_cast<const std::byte*>(residual_),
                            static_cast<size_t>(row_size) * sizeof(float), step.tapped_rows, step.num_tapped_rows,
                            reinterpret_cast<std::byte*>(to));
}

const float* Decoder::taps_by_row(const Step& step) {
  if (step.num_tapped_rows == 0) return nullptr;
  const auto row_bytes = static_cast<size_t>(layers_[0].attention.sizes.hidden_size) * sizeof(float);
  const int64_t count = step.num_tapped_rows * static_cast<int64_t>(tapped_layers_.size());
  step.kernels->gather_rows(step.exec, reinterpret_cast<const std::byte*>(tapped_), row_bytes, step.tap_places, count,
                            reinterpret_cast<std::byte*>(taps_by_row_));
  return taps_by_row_;
}

Step Decoder::keep_wanted_rows(const Step& step) {
  const auto row_bytes = static_cast<size_t>(layers_[0].attention.sizes.hidden_size) * sizeof(float);
  Step kept = step;
  kept.num_rows = step.num_wanted_rows;
  // Rows with logits and rows without may interleave, so they are gathered beside the residual.
  auto* const residual = reinterpret_cast<std::byte*>(residual_);
  auto* const gathered = reinterpret_cast<std::byte*>(block_);
  step.kernels->gather_rows(step.exec, residual, row_bytes, step.wanted_rows, kept.num_rows, gathered);
  step.device->copy(residual, gathered, static_cast<size_t>(kept.num_rows) * row_bytes);
  return kept;
}

void Decoder::run_attention(const Step& step, int index) {
  const DecoderLayer& layer = layers_[static_cast<size_t>(index)];
  const auto rope = static_cast<size_t>(layer.attention.rope);
  const bool direct = !layer.post_attention_norm.exists();
  float* const y = direct ? residual_ : block_;
  layer.attention.apply(step, attention_buffers_,
                        {.layer = index,
                         .x = normed_input(step, layer.attention_norm, residual_, step.num_rows,
                                           layer.attention.input_forms(), normed_, normed_packed_),
                         .cos_sin = cos_sin_[rope].device,
                         .half_dim = ropes_[rope].half_dim(),
                         .y = y,
                         .accumulate = direct && step.communicator->rank() == 0});
  sum_ranks(step, y);
  if (!direct) add_block(step, layer.post_attention_norm);
}

void Decoder::run_feed_forward(const Step& step, const DecoderLayer& layer) {
  const auto input = [&](InputForms forms) {
    return normed_input(step, layer.feed_forward_norm, residual_, step.num_rows, forms, normed_, normed_packed_);
  };
  if (const Mlp* mlp = std::get_if<Mlp>(&layer.feed_forward)) {
    const bool direct = !layer.post_feed_forward_norm.exists();
    float* const y = direct ? residual_ : block_;
    mlp->apply(step, mlp_buffers_, input(mlp->input_forms()), y, direct && step.communicator->rank() == 0);
    sum_ranks(step, y);
    if (!direct) add_block(step, layer.post_feed_forward_norm);
    return;
  }
  const Moe& moe = std::get<Moe>(layer.feed_forward);
  moe.apply(step, moe_buffers_, input(moe.input_forms()), block_);
  sum_ranks(step, block_);
  add_block(step, layer.post_feed_forward_norm);
}

void Decoder::sum_ranks(const Step& step, float* y) const {
  Communicator& ranks = *step.communicator;
  if (ranks.size() == 1) return;
  ranks.all_reduce_sum(y, step.num_rows * layers_[0].attention.sizes.hidden_size, step.exec.stream);
}

void Decoder::add_block(const Step& step, const Norm& norm) {
  if (norm.exists()) return norm.add_to(step, residual_, block_, step.num_rows);
  step.kernels->add(step.exec, residual_, block_, step.num_rows * layers_[0].attention.sizes.hidden_size);
}

}  // namespace quire
