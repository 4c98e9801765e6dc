#include "models/layers/attention.h"

#include <algorithm>

namespace quire {

void Attention::Buffers::take(Arena& arena, const Kernels& kernels, const StepLimits& limits,
                              const AttentionSizes& sizes) {
  q = arena.take<float>(limits.max_rows * sizes.q_size());
  k = arena.take<float>(limits.max_rows * sizes.kv_size());
  v = arena.take<float>(limits.max_rows * sizes.kv_size());
  out = arena.take<float>(limits.max_rows * sizes.q_size());
  q8.take(arena, kernels, limits.max_rows, std::max(sizes.hidden_size, sizes.q_size()));
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
  linear(step, call.x, num_rows, buffers.q8,
         {{.linear = &q, .y = buffers.q}, {.linear = &k, .y = buffers.k}, {.linear = &v, .y = buffers.v}});
  if (q_norm.exists()) q_norm.apply(step, buffers.q, num_rows * sizes.num_heads, buffers.q);
  if (k_norm.exists()) k_norm.apply(step, buffers.k, num_rows * sizes.num_kv_heads, buffers.k);
  kernels.rope(step.exec, buffers.q, sizes.q_size(), num_rows, sizes.num_heads, sizes.head_dim, call.half_dim,
               call.cos_sin, rope_interleaved);
  kernels.rope(step.exec, buffers.k, sizes.kv_size(), num_rows, sizes.num_kv_heads, sizes.head_dim, call.half_dim,
               call.cos_sin, rope_interleaved);

  const KvLayer kv = step.kv->layer(call.layer);
  kernels.write_kv(step.exec, kv, buffers.k, sizes.kv_size(), buffers.v, sizes.kv_size(), step.slots, num_rows);
  kernels.attention(step.exec, {.q = buffers.q,
                                .q_stride = sizes.q_size(),
                                .out = buffers.out,
                                .kv = kv,
                                .sequences = step.sequences,
                                .num_sequences = step.num_sequences,
                                .num_heads = sizes.num_heads,
                                .scale = scale,
                                .softcap = softcap,
                                .window = window,
                                .share_prefixes = step.share_prefixes,
                                .workspace = buffers.workspace});
  linear(step, buffers.out, num_rows, buffers.q8, {{.linear = &o, .y = call.y, .accumulate = call.accumulate}});
}

}  // namespace quire
