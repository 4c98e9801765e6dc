#include "models/layers/moe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

namespace quire {

void route(const RouterOptions& options, const float* logits, float* scratch, int32_t* experts, float* weights) {
  const int n = options.num_experts;
  float largest = -std::numeric_limits<float>::infinity();
  for (int e = 0; e < n; ++e) largest = std::max(largest, logits[e]);
  float sum = 0.0f;
  for (int e = 0; e < n; ++e) {
    scratch[e] = std::exp(logits[e] - largest);
    sum += scratch[e];
  }
  for (int e = 0; e < n; ++e) scratch[e] /= sum;

  for (int j = 0; j < options.experts_per_token; ++j) {
    int32_t best = -1;
    for (int32_t e = 0; e < n; ++e) {
      if (std::find(experts, experts + j, e) != experts + j) continue;
      if (best < 0 || scratch[e] > scratch[best] || (std::isnan(scratch[best]) && !std::isnan(scratch[e]))) best = e;
    }
    experts[j] = best;
  }
  float chosen = 0.0f;
  for (int j = 0; j < options.experts_per_token; ++j) chosen += scratch[experts[j]];
  std::sort(experts, experts + options.experts_per_token);
  for (int j = 0; j < options.experts_per_token; ++j) {
    weights[j] = options.normalize ? scratch[experts[j]] / chosen : scratch[experts[j]];
  }
}

void Moe::Buffers::take(Arena& arena, const Kernels& kernels, int64_t max_rows, const Moe& moe) {
  const RouterOptions& o = moe.options;
  const int64_t inner_rows = std::max<int64_t>(max_rows, o.experts_per_token);
  logits = arena.take<float>(max_rows * o.num_experts);
  scratch = arena.take<float>(max_rows * o.num_experts);
  experts = arena.take<int32_t>(max_rows * o.experts_per_token);
  weights = arena.take<float>(max_rows * o.experts_per_token);
  first = arena.take<int32_t>(o.num_experts + 1);
  rows = arena.take<int32_t>(max_rows * o.experts_per_token);
  row_weights = arena.take<float>(max_rows * o.experts_per_token);
  input_q8.take(arena, kernels, max_rows, moe.hidden_size());
  gathered = arena.take<float>(max_rows * moe.hidden_size());
  gathered_q8.take(arena, kernels, max_rows, moe.hidden_size());
  gate = arena.take<float>(inner_rows * moe.intermediate_size());
  up = arena.take<float>(inner_rows * moe.intermediate_size());
  inner_q8.take(arena, kernels, inner_rows, moe.intermediate_size());
  expert_out = arena.take<float>(max_rows * moe.hidden_size());
}

void Moe::apply(const Step& step, const Buffers& buffers, const float* x, float* y) const {
  const int64_t num_rows = step.num_rows;
  const MatmulInput input = matmul_input(step, x, num_rows, hidden_size(), needs_q8(), buffers.input_q8);
  const LinearOutput router_output{.linear = &router, .y = buffers.logits};
  linear(step, input, {&router_output, 1});
  parallel_for(step.exec, num_rows, [&](int64_t row) {
    route(options, buffers.logits + row * options.num_experts, buffers.scratch + row * options.num_experts,
          buffers.experts + row * options.experts_per_token, buffers.weights + row * options.experts_per_token);
  });
  std::memset(y, 0, static_cast<size_t>(num_rows * hidden_size()) * sizeof(float));
  if (num_rows == 1 && 2 * options.experts_per_token <= kMaxLinearOutputs) {
    run_single_row(step, buffers, input, y);
    return;
  }
  group_rows(step, buffers);
  for (int32_t expert = 0; expert < options.num_experts; ++expert) run_expert(step, buffers, input, expert, y);
}

// Experts may differ: a file can order the columns of some and not of others.
bool Moe::needs_q8() const {
  return router.takes_input_q8() || std::ranges::any_of(experts, [](const Mlp& mlp) {
           return mlp.gate.takes_input_q8() || mlp.up.takes_input_q8();
         });
}

// A counting sort of (row, choice) by expert.
void Moe::group_rows(const Step& step, const Buffers& buffers) const {
  const int k = options.experts_per_token;
  const int64_t num_choices = step.num_rows * k;
  std::fill_n(buffers.first, options.num_experts + 1, 0);
  for (int64_t i = 0; i < num_choices; ++i) ++buffers.first[buffers.experts[i] + 1];
  for (int e = 0; e < options.num_experts; ++e) buffers.first[e + 1] += buffers.first[e];
  for (int64_t i = num_choices - 1; i >= 0; --i) {
    // Filling each expert's range from its end leaves first[e + 1] at the range's start; shifted back below.
    const int32_t at = --buffers.first[buffers.experts[i] + 1];
    buffers.rows[at] = static_cast<int32_t>(i / k);
    buffers.row_weights[at] = buffers.weights[i];
  }
  for (int e = 0; e < options.num_experts; ++e) buffers.first[e] = buffers.first[e + 1];
  buffers.first[options.num_experts] = static_cast<int32_t>(num_choices);
}

// Decoding one sequence: gate and up of all chosen experts share the row, so they are one kernel call.
void Moe::run_single_row(const Step& step, const Buffers& buffers, const MatmulInput& input, float* y) const {
  const int k = options.experts_per_token;
  const int64_t hidden = hidden_size();
  const int64_t inner = intermediate_size();
  std::array<LinearOutput, kMaxLinearOutputs> outputs;
  for (int j = 0; j < k; ++j) {
    const Mlp& mlp = experts[static_cast<size_t>(buffers.experts[j])];
    outputs[static_cast<size_t>(2 * j)] = {.linear = &mlp.gate, .y = buffers.gate + j * inner};
    outputs[static_cast<size_t>(2 * j + 1)] = {.linear = &mlp.up, .y = buffers.up + j * inner};
  }
  linear(step, input, {outputs.data(), static_cast<size_t>(2 * k)});
  step.kernels->gated_activation(step.exec, experts[0].activation, buffers.gate, inner, buffers.up, inner, k, inner,
                                 buffers.gate, inner);
  for (int j = 0; j < k; ++j) {
    const Mlp& mlp = experts[static_cast<size_t>(buffers.experts[j])];
    linear(step, buffers.gate + j * inner, 1, buffers.inner_q8, {{.linear = &mlp.down, .y = buffers.expert_out}});
    for (int64_t c = 0; c < hidden; ++c) y[c] += buffers.weights[j] * buffers.expert_out[c];
  }
}

void Moe::run_expert(const Step& step, const Buffers& buffers, const MatmulInput& input, int32_t expert,
                     float* y) const {
  const int32_t* rows = buffers.rows + buffers.first[expert];
  const float* row_weights = buffers.row_weights + buffers.first[expert];
  const int64_t num_rows = buffers.first[expert + 1] - buffers.first[expert];
  if (num_rows == 0) return;
  const Mlp& mlp = experts[static_cast<size_t>(expert)];
  const int64_t hidden = hidden_size();
  const int64_t inner = intermediate_size();
  const size_t q8_bytes = input.q8 == nullptr ? 0 : step.kernels->q8_row_bytes(hidden);
  // A row's int8 form does not depend on its neighbours, so it is copied, not made again.
  parallel_for(step.exec, num_rows, [&](int64_t i) {
    const int64_t row = rows[i];
    std::memcpy(buffers.gathered + i * hidden, input.f32 + row * hidden, static_cast<size_t>(hidden) * sizeof(float));
    if (q8_bytes == 0) return;
    std::memcpy(buffers.gathered_q8.data + static_cast<size_t>(i) * q8_bytes,
                input.q8 + static_cast<size_t>(row) * q8_bytes, q8_bytes);
  });
  const MatmulInput gathered{.num_rows = num_rows,
                             .cols = hidden,
                             .f32 = buffers.gathered,
                             .q8 = q8_bytes == 0 ? nullptr : buffers.gathered_q8.data};
  const LinearOutput gate_up[] = {{.linear = &mlp.gate, .y = buffers.gate}, {.linear = &mlp.up, .y = buffers.up}};
  linear(step, gathered, gate_up);
  step.kernels->gated_activation(step.exec, mlp.activation, buffers.gate, inner, buffers.up, inner, num_rows, inner,
                                 buffers.gate, inner);
  linear(step, buffers.gate, num_rows, buffers.inner_q8, {{.linear = &mlp.down, .y = buffers.expert_out}});
  parallel_for(step.exec, num_rows, [&](int64_t i) {
    const float weight = row_weights[i];
    const float* from = buffers.expert_out + i * hidden;
    float* to = y + rows[i] * hidden;
    for (int64_t c = 0; c < hidden; ++c) to[c] += weight * from[c];
  });
}

}  // namespace quire
