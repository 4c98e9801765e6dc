#include "models/layers/moe.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace quire {
namespace {

// Rows of a wave that steps of few tokens may fill, however few they are.
constexpr int64_t kWaveRows = 512;

// One row of another matrix, or all rows from there on.
MatmulInput rows_from(const MatmulInput& input, int64_t first, int64_t num_rows, size_t q8_row_bytes) {
  return {.num_rows = num_rows,
          .cols = input.cols,
          .f32 = input.f32 == nullptr ? nullptr : input.f32 + first * input.cols,
          .q8 = input.q8 == nullptr ? nullptr : input.q8 + static_cast<size_t>(first) * q8_row_bytes};
}

}  // namespace

void route(const RouterOptions& options, float* logits, int32_t* experts, float* weights) {
  constexpr float kTaken = -1.0f;  // no probability
  const int n = options.num_experts;
  const int k = options.experts_per_token;
  float largest = -std::numeric_limits<float>::infinity();
  for (int e = 0; e < n; ++e) largest = std::max(largest, logits[e]);
  float sum = 0.0f;
  for (int e = 0; e < n; ++e) {
    logits[e] = std::exp(logits[e] - largest);
    sum += logits[e];
  }
  for (int e = 0; e < n; ++e) logits[e] /= sum;

  float chosen = 0.0f;
  for (int j = 0; j < k; ++j) {
    int32_t best = -1;
    for (int32_t e = 0; e < n; ++e) {
      if (logits[e] == kTaken) continue;
      if (best < 0 || logits[e] > logits[best] || (std::isnan(logits[best]) && !std::isnan(logits[e]))) best = e;
    }
    chosen += logits[best];
    int at = j;  // into its place among the ascending
    for (; at > 0 && experts[at - 1] > best; --at) {
      experts[at] = experts[at - 1];
      weights[at] = weights[at - 1];
    }
    experts[at] = best;
    weights[at] = std::exchange(logits[best], kTaken);
  }
  for (int j = 0; options.normalize && j < k; ++j) weights[j] /= chosen;
}

void Moe::Buffers::take(Arena& arena, const Kernels& kernels, int64_t max_rows, const Moe& moe) {
  const int64_t num_experts = moe.options.num_experts;
  const int64_t max_slots = max_rows * moe.options.experts_per_token;
  wave_rows = std::min(max_slots, std::max(max_rows, kWaveRows));
  logits = arena.take<float>(max_rows * num_experts);
  experts = arena.take<int32_t>(max_slots);
  weights = arena.take<float>(max_slots);
  slots = arena.take<int32_t>(max_slots);
  rows = arena.take<int32_t>(max_slots);
  first = arena.take<int32_t>(num_experts + 1);
  inputs = arena.take<MatmulInput>(num_experts);
  outputs = arena.take<MatmulOutput>(2 * num_experts);
  gathered = arena.take<float>(wave_rows * moe.hidden_size());
  gathered_q8.take(arena, kernels, wave_rows, moe.hidden_size());
  gate = arena.take<float>(wave_rows * moe.intermediate_size());
  up = arena.take<float>(wave_rows * moe.intermediate_size());
  inner_q8.take(arena, kernels, wave_rows, moe.intermediate_size());
  expert_out = arena.take<float>(wave_rows * moe.hidden_size());
}

void Moe::apply(const Step& step, const Buffers& buffers, const MatmulInput& x, float* y) const {
  const int64_t num_rows = x.num_rows;
  linear(step, x, {{.linear = &router, .y = buffers.logits}});
  for_rows(step.exec, num_rows, 16, [&](int64_t row) {
    route(options, buffers.logits + row * options.num_experts, buffers.experts + row * options.experts_per_token,
          buffers.weights + row * options.experts_per_token);
  });
  assign_slots(buffers, num_rows);
  std::memset(y, 0, static_cast<size_t>(num_rows * hidden_size()) * sizeof(float));
  for (int32_t expert = 0; expert < options.num_experts;) {
    const Wave wave = next_wave(buffers, expert);
    expert = wave.last_expert;
    if (wave.first_slot == wave.last_slot) continue;
    run_wave(step, buffers, x, wave);
    const ExpertRows out{.from = buffers.expert_out,
                         .first = wave.first_slot,
                         .last = wave.last_slot,
                         .slots = buffers.slots,
                         .weights = buffers.weights,
                         .per_row = options.experts_per_token};
    step.kernels->add_expert_rows(step.exec, out, num_rows, hidden_size(), y);
  }
}

InputForms Moe::input_forms() const {
  return any_column_order ? InputForms{.f32 = true, .q8 = true}
                          : forms_read_by({&router, &experts[0].gate, &experts[0].up});
}

// A counting sort of the choices by expert.
void Moe::assign_slots(const Buffers& buffers, int64_t num_rows) const {
  const int k = options.experts_per_token;
  const int64_t num_slots = num_rows * k;
  std::fill_n(buffers.first, options.num_experts + 1, 0);
  for (int64_t i = 0; i < num_slots; ++i) ++buffers.first[buffers.experts[i] + 1];
  for (int e = 0; e < options.num_experts; ++e) buffers.first[e + 1] += buffers.first[e];
  for (int64_t i = num_slots - 1; i >= 0; --i) {
    // Filling each expert's range from its end leaves first[e + 1] at the range's start; shifted back below.
    const int32_t slot = --buffers.first[buffers.experts[i] + 1];
    buffers.slots[i] = slot;
    buffers.rows[slot] = static_cast<int32_t>(i / k);
  }
  for (int e = 0; e < options.num_experts; ++e) buffers.first[e] = buffers.first[e + 1];
  buffers.first[options.num_experts] = static_cast<int32_t>(num_slots);
}

// One expert at least: it has a slot per row at most, and a wave has room for all rows.
Moe::Wave Moe::next_wave(const Buffers& buffers, int32_t first_expert) const {
  int32_t last = first_expert + 1;
  while (last < options.num_experts && buffers.first[last + 1] - buffers.first[first_expert] <= buffers.wave_rows)
    ++last;
  return {first_expert, last, buffers.first[first_expert], buffers.first[last]};
}

// A row's int8 form does not depend on its neighbours, so it is copied, not made again.
void Moe::gather(const Step& step, const Buffers& buffers, const MatmulInput& x, const Wave& wave) const {
  const auto hidden = static_cast<size_t>(hidden_size());
  const size_t q8_bytes = step.kernels->q8_row_bytes(hidden_size());
  const InputForms forms = any_column_order ? input_forms() : forms_read_by({&experts[0].gate, &experts[0].up});
  for_rows(step.exec, wave.last_slot - wave.first_slot, 16, [&](int64_t i) {
    const auto from = static_cast<size_t>(buffers.rows[wave.first_slot + i]);
    const auto to = static_cast<size_t>(i);
    if (forms.f32) std::memcpy(buffers.gathered + to * hidden, x.f32 + from * hidden, hidden * sizeof(float));
    if (forms.q8) std::memcpy(buffers.gathered_q8.data + to * q8_bytes, x.q8 + from * q8_bytes, q8_bytes);
  });
}

void Moe::run_wave(const Step& step, const Buffers& buffers, const MatmulInput& x, const Wave& wave) const {
  const int64_t hidden = hidden_size();
  const int64_t inner = intermediate_size();
  const int64_t num_slots = wave.last_slot - wave.first_slot;
  const bool is_single_row = x.num_rows == 1;
  if (!is_single_row) gather(step, buffers, x, wave);
  const MatmulInput gathered{.num_rows = num_slots,
                             .cols = hidden,
                             .f32 = x.f32 == nullptr ? nullptr : buffers.gathered,
                             .q8 = x.q8 == nullptr ? nullptr : buffers.gathered_q8.data};
  // body(expert, its slots, the first of them in the wave) for every active expert.
  const auto for_active = [&](const auto& body) {
    for (int32_t expert = wave.first_expert; expert < wave.last_expert; ++expert) {
      const int64_t count = buffers.first[expert + 1] - buffers.first[expert];
      if (count > 0) body(experts[static_cast<size_t>(expert)], count, buffers.first[expert] - wave.first_slot);
    }
  };
  MatmulInput* own = buffers.inputs;
  MatmulOutput* output = buffers.outputs;
  const size_t hidden_q8_bytes = step.kernels->q8_row_bytes(hidden);
  for_active([&](const Mlp& mlp, int64_t count, int64_t at) {
    *own = is_single_row ? x : rows_from(gathered, at, count, hidden_q8_bytes);
    const LinearOutput gate{.linear = &mlp.gate, .y = buffers.gate + at * inner};
    const LinearOutput up{.linear = &mlp.up, .y = buffers.up + at * inner};
    if (any_column_order) return linear(step, *own, {gate, up});
    *output++ = matmul_output(gate, own);
    *output++ = matmul_output(up, own);
    ++own;
  });
  if (!any_column_order)
    step.kernels->matmul(step.exec, gathered, buffers.outputs, static_cast<int>(output - buffers.outputs));

  const Mlp& any = experts[static_cast<size_t>(wave.first_expert)];
  const MatmulInput product =
      gated_input(step, any.activation, buffers.gate, buffers.up, num_slots, inner,
                  any_column_order ? input_forms() : forms_read_by({&any.down}), buffers.inner_q8);
  own = buffers.inputs;
  output = buffers.outputs;
  const size_t inner_q8_bytes = product.q8 == nullptr ? 0 : step.kernels->q8_row_bytes(inner);
  for_active([&](const Mlp& mlp, int64_t count, int64_t at) {
    *own = rows_from(product, at, count, inner_q8_bytes);
    const LinearOutput down{.linear = &mlp.down, .y = buffers.expert_out + at * hidden};
    if (any_column_order) return linear(step, *own, {down});
    *output++ = matmul_output(down, own);
    ++own;
  });
  if (!any_column_order)
    step.kernels->matmul(step.exec, product, buffers.outputs, static_cast<int>(output - buffers.outputs));
}

}  // namespace quire
