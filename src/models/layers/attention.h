// Causal self-attention over the paged KV cache: QKV, optional QK norm, RoPE, cache write, attention, output.
#pragma once

#include "models/layers/linear.h"
#include "models/layers/norm.h"

namespace quire {

struct AttentionSizes {
  int64_t hidden_size = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;

  int64_t q_size() const { return int64_t{num_heads} * head_dim; }
  int64_t kv_size() const { return int64_t{num_kv_heads} * head_dim; }
};

class Attention {
 public:
  AttentionSizes sizes;
  Linear q;     // [q_size, hidden_size]
  Linear k;     // [kv_size, hidden_size]
  Linear v;     // [kv_size, hidden_size]
  Linear o;     // [hidden_size, q_size]
  Norm q_norm;  // over each head; may not exist
  Norm k_norm;
  float scale = 0.0f;
  float softcap = 0.0f;
  int64_t window = 0;  // 0 = all positions
  int rope = 0;        // index of the rotary settings of this layer
  bool rope_interleaved = false;

  InputForms input_forms() const { return forms_read_by({&q, &k, &v}); }

  struct Buffers {
    float* q = nullptr;    // [max_rows, q_size]
    float* k = nullptr;    // [max_rows, kv_size]
    float* v = nullptr;    // [max_rows, kv_size]
    float* out = nullptr;  // [max_rows, q_size]
    PackedRows packed;     // of rows of `out`
    std::byte* workspace = nullptr;

    void take(Arena& arena, const Kernels& kernels, const StepLimits& limits, const AttentionSizes& sizes);
  };
  // x [num_rows, hidden_size] in its input forms -> y, written or added to; cos_sin [num_rows, 2, half_dim] of this
  // layer's rope.
  struct Call {
    int layer = 0;
    MatmulInput x;
    const float* cos_sin = nullptr;
    int half_dim = 0;
    float* y = nullptr;
    bool accumulate = false;
  };
  void apply(const Step& step, const Buffers& buffers, const Call& call) const;
};

}  // namespace quire
