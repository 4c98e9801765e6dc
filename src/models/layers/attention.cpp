#include "models/layers/attention.h"

namespace quire {

void Attention::Buffers::take(Arena& arena, const Kernels& kernels, const StepLimits& limits,
                              const AttentionSizes& sizes) {
  q = arena.take<float>(limits.max_rows * sizes.q_size());
  k = arena.take<float>(limits.max_rows * sizes.kv_size());
  v = arena.take<float>(limits.max_rows * sizes.kv_size());
  out = arena.take<float>(limits.max_rows * sizes.q_size());
  packed.take(arena, kernels, limits.max_rows, sizes.q_size());
  workspace = arena.take_bytes(kernels.attention_workspace_bytes({.num_threads = limits.num_threads,
                                                                  .max_rows = limits.max_rows,
                                                                  .max_sequences = limits.max_sequences,
                                                                  .max_context = limits.max_context,
                                                                  .num_heads = sizes.num_heads,
                                                                  .num_kv_heads = sizes.num_kv_heads,
                                                                  .head_dim = sizes.head_dim}));
}

void Attention::apply(const Step& step, const Buffers& buffers, const Call& call) const {
  const Kernels& kernels = *step.kernels;
  const int64_t num_rows = step.num_rows;
  linear(step, call.x,
         {{.linear = &q, .y = buffers.q}, {.linear = &k, .y = buffers.k}, {.linear = &v, .y = buffers.v}});
  const KvLayer kv = step.kv->layer(call.layer);
  kernels.norm_rope_write_kv(step.exec, {buffers.q, sizes.q_size(), sizes.num_heads, q_norm.weight, q_norm.eps},
                             {buffers.k, sizes.kv_size(), sizes.num_kv_heads, k_norm.weight, k_norm.eps},
                             {.kv = kv, .v = buffers.v, .v_stride = sizes.kv_size(), .slots = step.slots}, num_rows,
                             call.half_dim, call.cos_sin, rope_interleaved);
  kernels.attention(step.exec, {.q = buffers.q,
                                .q_stride = sizes.q_size(),
                                .out = buffers.out,
                                .kv = kv,
                                .sequences = step.sequences,
                                .num_sequences = step.num_sequences,
                                .num_rows = num_rows,
                                .max_rows = step.max_sequence_rows,
                                .max_context = step.max_context,
                                .num_heads = sizes.num_heads,
                                .scale = scale,
                                .softcap = softcap,
                                .window = window,
                                .share_prefixes = step.share_prefixes,
                                .workspace = buffers.workspace});
  linear(step, plain_input(step, buffers.out, num_rows, sizes.q_size(), forms_read_by({&o}), buffers.packed),
         {{.linear = &o, .y = call.y, .accumulate = call.accumulate}});
}

}  // namespace quire
