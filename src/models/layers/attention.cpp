#include "models/layers/attention.h"

#include <algorithm>

namespace quire {

void Attention::Buffers::take(Arena& arena, const Kernels& kernels, const StepLimits& limits,
                              std::span<const AttentionSizes> layers) {
  int64_t q_size = 0, kv_size = 0;
  size_t workspace_bytes = 0;
  for (const AttentionSizes& sizes : layers) {
    q_size = std::max(q_size, sizes.q_size());
    kv_size = std::max(kv_size, sizes.kv_size());
    workspace_bytes = std::max(
        workspace_bytes, kernels.attention_workspace_bytes({.num_threads = limits.num_threads,
                                                            .max_rows = limits.max_rows,
                                                            .max_sequences = limits.max_sequences + limits.max_branches,
                                                            .max_context = limits.max_context,
                                                            .num_heads = sizes.num_heads,
                                                            .num_kv_heads = sizes.num_kv_heads,
                                                            .head_dim = sizes.head_dim}));
  }
  q = arena.take<float>(limits.max_rows * q_size);
  k = arena.take<float>(limits.max_rows * kv_size);
  v = arena.take<float>(limits.max_rows * kv_size);
  out = arena.take<float>(limits.max_rows * q_size);
  packed.take(arena, kernels, limits.max_rows, q_size);
  workspace = arena.take_bytes(workspace_bytes);
}

void Attention::project(const Step& step, const Buffers& buffers, const Call& call, const KvLayer& kv,
                        const KvGroupRows& rows) const {
  const Kernels& kernels = *step.kernels;
  const HeadRows q_rows{buffers.q, sizes.q_size(), sizes.num_heads, q_norm.weight, q_norm.eps};
  const Rotation rotation{
      .cos_sin = call.cos_sin, .head_dim = sizes.head_dim, .half_dim = call.half_dim, .interleaved = rope_interleaved};
  if (!writes_kv()) {
    linear(step, call.x, {{.linear = &q, .y = buffers.q}});
    kernels.norm_rope(step.exec, &q_rows, 1, step.num_rows, rotation);
    if (kv.hadamard_k) kernels.hadamard_heads(step.exec, q_rows, step.num_rows, sizes.head_dim);
    return;
  }
  linear(step, call.x,
         {{.linear = &q, .y = buffers.q}, {.linear = &k, .y = buffers.k}, {.linear = &v, .y = buffers.v}});
  kernels.norm_rope_write_kv(
      step.exec, q_rows, {buffers.k, sizes.kv_size(), sizes.num_kv_heads, k_norm.weight, k_norm.eps},
      {.kv = kv, .v = buffers.v, .v_stride = sizes.kv_size(), .slots = rows.slots, .num_rows = step.num_rows},
      rotation);
  if (rows.num_copies > 0) kernels.copy_kv(step.exec, kv, rows.copies, rows.num_copies);
}

void Attention::apply(const Step& step, const Buffers& buffers, const Call& call) const {
  const KvLayout::Place place = step.kv->layout().layers[static_cast<size_t>(call.layer)];
  const KvLayer kv = step.kv->at(place);
  const KvGroupRows& rows = step.kv_groups[static_cast<size_t>(place.group)];
  project(step, buffers, call, kv, rows);
  step.kernels->attention(step.exec, {.q = buffers.q,
                                      .q_stride = sizes.q_size(),
                                      .out = buffers.out,
                                      .kv = kv,
                                      .sequences = rows.sequences,
                                      .num_sequences = step.num_sequences,
                                      .num_rows = step.num_rows,
                                      .max_rows = step.max_sequence_rows,
                                      .max_context = step.max_context,
                                      .num_heads = sizes.num_heads,
                                      .scale = scale,
                                      .softcap = softcap,
                                      .window = window,
                                      .share_prefixes = step.share_prefixes,
                                      .begin_alike = step.begin_alike,
                                      .workspace = buffers.workspace});
  if (kv.hadamard_v) {
    const HeadRows out_rows{.x = buffers.out, .stride = sizes.q_size(), .num_heads = sizes.num_heads};
    step.kernels->hadamard_heads(step.exec, out_rows, step.num_rows, sizes.head_dim);
  }
  linear(step, plain_input(step, buffers.out, step.num_rows, sizes.q_size(), forms_read_by({&o}), buffers.packed),
         {{.linear = &o, .y = call.y, .accumulate = call.accumulate}});
}

}  // namespace quire
