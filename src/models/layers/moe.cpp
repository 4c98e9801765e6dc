#include "models/layers/moe.h"

#include <algorithm>

#include "base/error.h"

namespace quire {
namespace {

// On the host a wave has at least this many rows, or as many as a step has slots.
constexpr int64_t kWaveRows = 512;

// A device multiplies all experts' matrices of one kind in one kernel.
void check_formats(const Moe& moe) {
  for (const auto kind : {&Mlp::gate, &Mlp::up, &Mlp::down}) {
    const Linear& first = moe.experts[0].*kind;
    for (const Mlp& mlp : moe.experts) {
      const Linear& matrix = mlp.*kind;
      if (matrix.weights.format == first.weights.format) continue;
      fail(ErrorCode::kUnsupported,
           "\"{}\" is {} and \"{}\" is {}: only the CPU mixes formats of experts; use --device cpu",
           printable(first.name), weight_format(first.weights.format).name, printable(matrix.name),
           weight_format(matrix.weights.format).name);
    }
  }
}

// Whether all experts' matrices have the same order in both lists.
bool share_orders(const std::vector<Mlp>& experts) {
  return std::ranges::all_of(experts, [](const Mlp& mlp) { return mlp.gate.order.columns == mlp.up.order.columns; });
}

}  // namespace

void Moe::Buffers::take(Arena& arena, const Kernels& kernels, const StepLimits& limits, const Moe& moe) {
  if (!limits.on_host) check_formats(moe);
  on_host = limits.on_host;
  const int64_t max_slots = limits.max_rows * moe.routing.per_row;
  wave_rows = limits.on_host ? std::min(max_slots, std::max(limits.max_rows, kWaveRows)) : max_slots;
  logits = arena.take<float>(limits.max_rows * moe.routing.num_experts);
  choices = {.slots = arena.take<int32_t>(max_slots),
             .weights = arena.take<float>(max_slots),
             .rows = arena.take<int32_t>(max_slots),
             .first = arena.take<int32_t>(moe.routing.num_experts + 1)};
  gathered = arena.take<float>(wave_rows * moe.hidden_size());
  packed_gathered.take(arena, kernels, wave_rows, moe.hidden_size());
  gate = arena.take<float>(wave_rows * moe.intermediate_size());
  up = arena.take<float>(wave_rows * moe.intermediate_size());
  packed_inner.take(arena, kernels, wave_rows, moe.intermediate_size());
  expert_out = arena.take<float>(wave_rows * moe.hidden_size());
}

void Moe::apply(const Step& step, const Buffers& buffers, const MatmulInput& x, float* y) const {
  linear(step, x, {{.linear = &router, .y = buffers.logits}});
  step.kernels->route_experts(step.exec, routing, buffers.logits, x.num_rows, buffers.choices);
  for (int32_t expert = 0; expert < routing.num_experts;) {
    const Wave wave = next_wave(buffers, x.num_rows * routing.per_row, expert);
    expert = wave.last_expert;
    if (wave.first_slot == wave.last_slot) continue;
    if (any_column_order && !buffers.on_host) {
      run_ordered_slots(step, buffers, x);
    } else {
      gather(step, buffers, x, wave);
      any_column_order ? run_ordered_wave(step, buffers, wave) : run_wave(step, buffers, wave);
    }
    const ExpertRows out{.from = buffers.expert_out,
                         .first = wave.first_slot,
                         .last = wave.last_slot,
                         .slots = buffers.choices.slots,
                         .weights = buffers.choices.weights,
                         .per_row = routing.per_row};
    step.kernels->add_expert_rows(step.exec, out, x.num_rows, hidden_size(), y);
  }
}

InputForms Moe::input_forms() const {
  return any_column_order ? InputForms{.f32 = true, .packed = true}
                          : forms_read_by({&router, &experts[0].gate, &experts[0].up});
}

InputForms Moe::gathered_forms() const {
  return any_column_order ? input_forms() : forms_read_by({&experts[0].gate, &experts[0].up});
}

// At least one expert: it has at most one slot per row, and a wave has room for all rows.
Moe::Wave Moe::next_wave(const Buffers& buffers, int64_t num_slots, int32_t first_expert) const {
  if (num_slots <= buffers.wave_rows) return {0, routing.num_experts, 0, static_cast<int32_t>(num_slots)};
  const int32_t* first = buffers.choices.first;
  int32_t last = first_expert + 1;
  while (last < routing.num_experts && first[last + 1] - first[first_expert] <= buffers.wave_rows) ++last;
  return {first_expert, last, first[first_expert], first[last]};
}

// A packed row does not depend on its neighbours, so it is copied, not packed again.
void Moe::gather(const Step& step, const Buffers& buffers, const MatmulInput& x, const Wave& wave) const {
  const auto copy = [&](const void* from, size_t row_bytes, void* to) {
    step.kernels->gather_rows(step.exec, static_cast<const std::byte*>(from), row_bytes,
                              buffers.choices.rows + wave.first_slot, wave.num_slots(), static_cast<std::byte*>(to));
  };
  const InputForms forms = gathered_forms();
  if (forms.f32) copy(x.f32, static_cast<size_t>(hidden_size()) * sizeof(float), buffers.gathered);
  if (forms.packed) copy(x.packed, step.kernels->packed_row_bytes(hidden_size()), buffers.packed_gathered.data);
}

void Moe::run_wave(const Step& step, const Buffers& buffers, const Wave& wave) const {
  const Mlp& any = experts[0];
  const int32_t* first = buffers.choices.first + wave.first_expert;
  const int num_experts = wave.last_expert - wave.first_expert;
  const auto of_wave = [&](const Linear& like, const PackedMatrix* matrices, float* y) {
    return ExpertMatrices{.like = like.weights, .experts = matrices + wave.first_expert, .y = y};
  };
  const InputForms forms = gathered_forms();
  const MatmulInput gathered{.num_rows = wave.num_slots(),
                             .cols = hidden_size(),
                             .f32 = forms.f32 ? buffers.gathered : nullptr,
                             .packed = forms.packed ? buffers.packed_gathered.data : nullptr};
  const ExpertMatrices inner[] = {of_wave(any.gate, gates, buffers.gate), of_wave(any.up, ups, buffers.up)};
  step.kernels->matmul_experts(step.exec, gathered, first, num_experts, inner, 2);
  const MatmulInput product = gated_input(step, any.activation, buffers.gate, buffers.up, wave.num_slots(),
                                          intermediate_size(), forms_read_by({&any.down}), buffers.packed_inner);
  const ExpertMatrices outer = of_wave(any.down, downs, buffers.expert_out);
  step.kernels->matmul_experts(step.exec, product, first, num_experts, &outer, 1);
}

void Moe::run_ordered_wave(const Step& step, const Buffers& buffers, const Wave& wave) const {
  const int64_t hidden = hidden_size();
  const int64_t inner = intermediate_size();
  const int32_t* first = buffers.choices.first;
  for (int32_t expert = wave.first_expert; expert < wave.last_expert; ++expert) {
    const int64_t count = first[expert + 1] - first[expert];
    const int64_t at = first[expert] - wave.first_slot;
    if (count == 0) continue;
    const Mlp& mlp = experts[static_cast<size_t>(expert)];
    const MatmulInput x{
        .num_rows = count,
        .cols = hidden,
        .f32 = buffers.gathered + at * hidden,
        .packed = buffers.packed_gathered.data + static_cast<size_t>(at) * step.kernels->packed_row_bytes(hidden)};
    float* const gate = buffers.gate + at * inner;
    float* const up = buffers.up + at * inner;
    linear(step, x, {{.linear = &mlp.gate, .y = gate}, {.linear = &mlp.up, .y = up}});
    const MatmulInput product =
        gated_input(step, mlp.activation, gate, up, count, inner, input_forms(), buffers.packed_inner);
    linear(step, product, {{.linear = &mlp.down, .y = buffers.expert_out + at * hidden}});
  }
}

void Moe::run_ordered_slots(const Step& step, const Buffers& buffers, const MatmulInput& x) const {
  const Mlp& any = experts[0];
  const int64_t num_slots = x.num_rows * routing.per_row;
  const int32_t* first = buffers.choices.first;
  const auto in_order = [&](const float* from, const int32_t* rows, const int32_t* const* columns, const Linear& like,
                            float* to, const PackedRows& packed) {
    const int64_t cols = like.weights.cols;
    const ExpertColumns orders{.rows = rows, .first = first, .columns = columns, .num_experts = routing.num_experts};
    step.kernels->gather_expert_columns(step.exec, from, orders, num_slots, cols, to);
    return plain_input(step, to, num_slots, cols, {.f32 = true, .packed = like.takes_packed}, packed);
  };
  const auto multiply = [&](const MatmulInput& input, std::initializer_list<ExpertMatrices> matrices) {
    step.kernels->matmul_experts(step.exec, input, first, routing.num_experts, matrices.begin(),
                                 static_cast<int>(matrices.size()));
  };
  const auto of_slots = [&](const int32_t* const* columns, const Linear& like) {
    return in_order(x.f32, buffers.choices.rows, columns, like, buffers.gathered, buffers.packed_gathered);
  };
  const ExpertMatrices gate{.like = any.gate.weights, .experts = gates, .y = buffers.gate};
  const ExpertMatrices up{.like = any.up.weights, .experts = ups, .y = buffers.up};
  if (share_orders(experts) && any.gate.takes_packed == any.up.takes_packed) {
    multiply(of_slots(gate_columns, any.gate), {gate, up});
  } else {
    multiply(of_slots(gate_columns, any.gate), {gate});
    multiply(of_slots(up_columns, any.up), {up});
  }
  const int64_t inner = intermediate_size();
  step.kernels->gated_activation(step.exec,
                                 {.kind = any.activation,
                                  .gate = buffers.gate,
                                  .gate_stride = inner,
                                  .up = buffers.up,
                                  .up_stride = inner,
                                  .num_rows = num_slots,
                                  .dim = inner},
                                 buffers.gate, inner);
  multiply(in_order(buffers.gate, nullptr, down_columns, any.down, buffers.up, buffers.packed_inner),
           {{.like = any.down.weights, .experts = downs, .y = buffers.expert_out}});
}

}  // namespace quire
