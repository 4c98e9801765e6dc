#include "models/layers/attention.h"

namespace quire {

void Attention::Buffers::take(Arena& arena, const Kernels& kernels, const StepLimits& limits,
                              const AttentionSizes& sizes) {
  q = arena.take<float>(limits.max_rows * sizes.q_size());
  k = arena.take<float>(limits.max_rows * sizes.kv_size());
  v = arena.take<float>(limits.max_rows * sizes.kv_size());
  out = arena.take<float>(limits.max_rows * sizes.q_size());
  q8.take(arena, kernels, limits.max_rows, sizes.q_size());
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
  const HeadRows heads[] = {{.x = buffers.q,
                             .stride = sizes.q_size(),
                             .num_heads = sizes.num_heads,
                             .norm = q_norm.weight,
                             .norm_eps = q_norm.eps},
                            {.x = buffers.k,
                             .stride = sizes.kv_size(),
                             .num_heads = sizes.num_kv_heads,
                             .norm = k_norm.weight,
                             .norm_eps = k_norm.eps}};
  kernels.norm_rope(step.exec, heads, 2, num_rows, sizes.head_dim, call.half_dim, call.cos_sin, rope_interleaved);

  const KvLayer kv = step.kv->layer(call.layer);
  kernels.write_kv(step.exec, kv, buffers.k, sizes.kv_size(), buffers.v, sizes.kv_size(), step.slots, num_rows);
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
  linear(step, plain_input(step, buffers.out, num_rows, sizes.q_size(), forms_read_by({&o}), buffers.q8),
         {{.linear = &o, .y = call.y, .accumulate = call.accumulate}});
}

}  // namespace quire
