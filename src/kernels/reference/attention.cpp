#include <cmath>
#include <limits>

#include "base/check.h"
#include "kernels/reference/reference.h"
#include "tensor/half.h"

namespace quire {
namespace {

float load(const std::byte* base, Format format, int64_t index) {
  switch (format) {
    case Format::kF32: return reinterpret_cast<const float*>(base)[index];
    case Format::kF16: return f16_to_f32(reinterpret_cast<const uint16_t*>(base)[index]);
    case Format::kBF16: return bf16_to_f32(reinterpret_cast<const uint16_t*>(base)[index]);
    default: CHECK(!"a KV cache is f32, f16 or bf16");
  }
  return 0;
}

// One query of one head: `out` gathers sum(exp(s - max) * v), rescaled whenever the maximum grows.
void attend(const AttentionArgs& args, const AttentionSequence& sequence, int64_t row, int head) {
  const KvLayer& kv = args.kv;
  const int kv_head = head / (args.num_heads / kv.num_kv_heads);
  const float* q = args.q + (sequence.first_row + row) * args.q_stride + static_cast<int64_t>(head) * kv.head_dim;
  float* out = args.out + ((sequence.first_row + row) * args.num_heads + head) * kv.head_dim;
  for (int d = 0; d < kv.head_dim; ++d) out[d] = 0;

  const int64_t position = sequence.first_position + row;
  const int64_t first = args.window > 0 && position >= args.window ? position - args.window + 1 : 0;
  float max = -std::numeric_limits<float>::infinity();
  float sum = 0;
  for (int64_t p = first; p <= position; ++p) {
    const int64_t block = sequence.block_table[p / kKvBlockSize];
    const int64_t tile = (block * kv.num_kv_heads + kv_head) * kv.head_dim * kKvBlockSize;
    const int64_t offset = p % kKvBlockSize;
    float score = 0;
    for (int d = 0; d < kv.head_dim; ++d) score += q[d] * load(kv.k, kv.k_format, tile + d * kKvBlockSize + offset);
    score *= args.scale;
    if (args.softcap > 0) score = args.softcap * std::tanh(score / args.softcap);

    const float new_max = std::fmax(max, score);
    const float shrink = std::exp(max - new_max);
    const float weight = std::exp(score - new_max);
    max = new_max;
    sum = sum * shrink + weight;
    for (int d = 0; d < kv.head_dim; ++d) {
      out[d] = out[d] * shrink + weight * load(kv.v, kv.v_format, tile + offset * kv.head_dim + d);
    }
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
