#include "models/layers/moe.h"

#include <algorithm>

#include "base/error.h"

namespace quire {
namespace {

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

// `rows`, each in the order of the columns of its expert, of those from `first_expert` on.
RowsToPack in_order(RowsToPack rows, const int32_t* first, int first_expert, int num_experts,
                    const int32_t* const* columns) {
  rows.num_experts = num_experts;
  rows.first = first + first_expert;
  rows.expert_columns = columns + first_expert;
  return rows;
}

}  // namespace

void Moe::Buffers::take(Arena& arena, const Kernels& kernels, const StepLimits& limits, const Moe& moe) {
  if (!kernels.mixes_expert_formats) check_formats(moe);
  const int64_t max_assignments = limits.max_rows * moe.routing.per_row;
  wave_rows = std::min(max_assignments, std::max(limits.max_rows, kernels.enough_expert_rows));
  logits = arena.take<float>(limits.max_rows * moe.routing.num_experts);
  choices = {.assignments = arena.take<int32_t>(max_assignments),
             .weights = arena.take<float>(max_assignments),
             .rows = arena.take<int32_t>(max_assignments),
             .first = arena.take<int32_t>(moe.routing.num_experts + 1)};
  gathered = arena.take<float>(wave_rows * moe.hidden_size());
  packed_gathered.take(arena, kernels, wave_rows, moe.hidden_size());
  gate = arena.take<float>(wave_rows * moe.intermediate_size());
  up = arena.take<float>(wave_rows * moe.intermediate_size());
  packed_inner.take(arena, kernels, wave_rows, moe.intermediate_size());
  expert_out = arena.take<float>(wave_rows * moe.hidden_size());
}

void Moe::apply(const Step& step, const Buffers& buffers, const LinearInput& x, float* y) const {
  linear(step, {.rows = x.rows, .packed = buffers.packed_gathered.data}, {{.linear = &router, .y = buffers.logits}});
  const int64_t num_rows = x.rows.num_rows;
  step.kernels->route_experts(step.exec, routing, buffers.logits, num_rows, buffers.choices);
  for (int32_t expert = 0; expert < routing.num_experts;) {
    const Wave wave = next_wave(buffers, num_rows * routing.per_row, expert);
    expert = wave.last_expert;
    if (wave.first_assignment == wave.last_assignment) continue;
    run_wave(step, buffers, x.rows, wave);
    const ExpertRows out{.from = buffers.expert_out,
                         .first = wave.first_assignment,
                         .last = wave.last_assignment,
                         .assignments = buffers.choices.assignments,
                         .weights = buffers.choices.weights,
                         .per_row = routing.per_row};
    step.kernels->add_expert_rows(step.exec, out, num_rows, hidden_size(), y);
  }
}

InputForms Moe::input_forms() const {
  InputForms forms = forms_read_by({&router});
  for (const Matrices* matrices : {&gates, &ups}) {
    const bool reorders = matrices->columns != nullptr;
    forms.f32 = forms.f32 || matrices->reads.f32 || (matrices->reads.packed && reorders);
    forms.packed = forms.packed || (matrices->reads.packed && !reorders);
  }
  return forms;
}

// At least one expert: it has at most one assignment per row, and a wave has room for all rows.
Moe::Wave Moe::next_wave(const Buffers& buffers, int64_t num_assignments, int32_t first_expert) const {
  if (num_assignments <= buffers.wave_rows) return {0, routing.num_experts, 0, static_cast<int32_t>(num_assignments)};
  const int32_t* first = buffers.choices.first;
  int32_t last = first_expert + 1;
  while (last < routing.num_experts && first[last + 1] - first[first_expert] <= buffers.wave_rows) ++last;
  return {first_expert, last, first[first_expert], first[last]};
}

void Moe::run_wave(const Step& step, const Buffers& buffers, const MatmulInput& x, const Wave& wave) const {
  const auto multiply = [&](const MatmulInput& input, std::initializer_list<ExpertMatrices> matrices) {
    step.kernels->matmul_experts(step.exec, input, buffers.choices.first + wave.first_expert, wave.num_experts(),
                                 matrices.begin(), static_cast<int>(matrices.size()));
  };
  const auto of_wave = [&](const Linear& like, const Matrices& matrices, float* y) {
    return ExpertMatrices{.like = like.weights, .experts = matrices.experts.get() + wave.first_expert, .y = y};
  };
  const ExpertMatrices gate = of_wave(experts[0].gate, gates, buffers.gate);
  const ExpertMatrices up = of_wave(experts[0].up, ups, buffers.up);
  if (gates.columns == ups.columns) {
    const InputForms both{.f32 = gates.reads.f32 || ups.reads.f32, .packed = gates.reads.packed || ups.reads.packed};
    const MatmulInput gathered = gather(step, buffers, x, wave, both, gates.columns.get());
    if (step.observer != nullptr) tell_observer(step, buffers, gathered, wave, {&Mlp::gate, &Mlp::up});
    multiply(gathered, {gate, up});
  } else {
    multiply(gather(step, buffers, x, wave, gates.reads, gates.columns.get()), {gate});
    multiply(gather(step, buffers, x, wave, ups.reads, ups.columns.get()), {up});
  }
  const MatmulInput inner = inner_product(step, buffers, wave);
  if (step.observer != nullptr) tell_observer(step, buffers, inner, wave, {&Mlp::down});
  multiply(inner, {of_wave(experts[0].down, downs, buffers.expert_out)});
}

void Moe::tell_observer(const Step& step, const Buffers& buffers, const MatmulInput& x, const Wave& wave,
                        std::initializer_list<Linear Mlp::*> kinds) const {
  for (int32_t e = wave.first_expert; e < wave.last_expert; ++e) {
    const int32_t first = buffers.choices.first[e];
    const int32_t num_rows = buffers.choices.first[e + 1] - first;
    if (num_rows == 0) continue;
    std::vector<const Linear*> matrices;
    for (const auto kind : kinds) matrices.push_back(&(experts[static_cast<size_t>(e)].*kind));
    step.observer->observe(matrices, x.f32 + (first - wave.first_assignment) * x.cols, num_rows);
  }
}

MatmulInput Moe::gather(const Step& step, const Buffers& buffers, const MatmulInput& x, const Wave& wave,
                        InputForms reads, const int32_t* const* columns) const {
  const int32_t* const rows = buffers.choices.rows + wave.first_assignment;
  std::byte* const packed = buffers.packed_gathered.data;
  const auto copy = [&](const void* from, size_t row_bytes, void* to) {
    step.kernels->gather_rows(step.exec, static_cast<const std::byte*>(from), row_bytes, rows, wave.num_assignments(),
                              static_cast<std::byte*>(to));
  };
  if (reads.f32) copy(x.f32, static_cast<size_t>(hidden_size()) * sizeof(float), buffers.gathered);
  if (reads.packed && columns != nullptr) {
    const RowsToPack assignments{.x = x.f32, .num_rows = wave.num_assignments(), .cols = hidden_size(), .rows = rows};
    step.kernels->pack_rows(
        step.exec, in_order(assignments, buffers.choices.first, wave.first_expert, wave.num_experts(), columns),
        packed);
  } else if (reads.packed) {
    // A packed row does not depend on its neighbours, so it is copied, not packed again.
    copy(x.packed, step.kernels->packed_row_bytes(hidden_size()), packed);
  }
  return {.num_rows = wave.num_assignments(),
          .cols = hidden_size(),
          .f32 = reads.f32 ? buffers.gathered : nullptr,
          .packed = reads.packed ? packed : nullptr};
}

MatmulInput Moe::inner_product(const Step& step, const Buffers& buffers, const Wave& wave) const {
  const bool reorders = downs.reads.packed && downs.columns != nullptr;
  const InputForms forms = reorders ? InputForms{.f32 = true} : downs.reads;
  MatmulInput product = gated_input(step, experts[0].activation, buffers.gate, buffers.up, wave.num_assignments(),
                                    intermediate_size(), forms, buffers.packed_inner)
                            .rows;
  if (!reorders) return product;
  const RowsToPack assignments{.x = product.f32, .num_rows = product.num_rows, .cols = product.cols};
  step.kernels->pack_rows(
      step.exec,
      in_order(assignments, buffers.choices.first, wave.first_expert, wave.num_experts(), downs.columns.get()),
      buffers.packed_inner.data);
  product.packed = buffers.packed_inner.data;
  return product;
}

}  // namespace quire
