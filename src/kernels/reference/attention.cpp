#include <cmath>
#include <limits>

#include "kernels/reference/kv_tile.h"
#include "kernels/reference/reference.h"

namespace quire {
namespace {

// Attention of one query of one head: `out` accumulates sum(exp(s - max) * v) and is rescaled when the maximum grows.
void attend(const AttentionArgs& args, const AttentionSequence& sequence, int64_t row, int head) {
  const KvLayer& kv = args.kv;
  const int kv_head = head / (args.num_heads / kv.num_kv_heads);
  const float* q = args.q + (sequence.first_row + row) * args.q_stride + static_cast<int64_t>(head) * kv.head_dim;
  float* out = args.out + ((sequence.first_row + row) * args.num_heads + head) * kv.head_dim;
  for (int d = 0; d < kv.head_dim; ++d) out[d] = 0;

  const int64_t position = sequence.first_position + row;
  const int64_t first = args.window > 0 && position >= args.window ? position - args.window + 1 : 0;
  float k[kMaxHeadDim];
  float v[kMaxHeadDim];
  float max = -std::numeric_limits<float>::infinity();
  float sum = 0;
  for (int64_t p = first; p <= position; ++p) {
    const int32_t block = sequence.block_table[p / kKvBlockSize];
    if (block == kNoBlock) continue;
    const int64_t tile = int64_t{block} * kv.num_kv_heads + kv_head;
    const auto offset = static_cast<int>(p % kKvBlockSize);
    load_k(kv.k_format, kv.k + tile * k_tile_bytes(kv.k_format, kv.head_dim), kv.head_dim, offset, k);
    load_v(kv.v_format, kv.v + tile * v_tile_bytes(kv.v_format, kv.head_dim), kv.head_dim, offset, v);
    float score = 0;
    for (int d = 0; d < kv.head_dim; ++d) score += q[d] * k[d];
    score *= args.scale;
    if (args.softcap > 0) score = args.softcap * std::tanh(score / args.softcap);

    const float new_max = std::fmax(max, score);
    const float shrink = std::exp(max - new_max);
    const float weight = std::exp(score - new_max);
    max = new_max;
    sum = sum * shrink + weight;
    for (int d = 0; d < kv.head_dim; ++d) out[d] = out[d] * shrink + weight * v[d];
  }
  for (int d = 0; d < kv.head_dim; ++d) out[d] /= sum;
}

size_t attention_workspace_bytes(const AttentionLimits&) { return 0; }

void attention(const Exec& exec, const AttentionArgs& args) {
  for (int64_t s = 0; s < args.num_sequences; ++s) {
    struct Context {
      const AttentionArgs& args;
      const AttentionSequence& sequence;
    } context{args, args.sequences[s]};
    exec.run(
        exec.pool, context.sequence.num_rows * args.num_heads,
        [](void* opaque, int64_t tile, int) {
          const auto& [all, sequence] = *static_cast<Context*>(opaque);
          attend(all, sequence, tile / all.num_heads, static_cast<int>(tile % all.num_heads));
        },
        &context);
  }
}

}  // namespace

void fill_attention_reference(Kernels& table) {
  table.attention_workspace_bytes = attention_workspace_bytes;
  table.attention = attention;
}

}  // namespace quire
