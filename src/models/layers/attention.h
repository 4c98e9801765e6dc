// Causal self-attention over the paged KV cache: QKV, optional QK norm, RoPE, cache write, attention, output.
#pragma once

#include <span>

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
  bool operator==(const AttentionSizes&) const = default;
};

class Attention {
 public:
  AttentionSizes sizes;
  Linear q;     // [q_size, hidden_size]
  Linear k;     // [kv_size, hidden_size]; none if this layer reads the K and V of kv_layer
  Linear v;     // [kv_size, hidden_size]
  Linear o;     // [hidden_size, q_size]
  Norm q_norm;  // over each head; may not exist
  Norm k_norm;
  float scale = 0.0f;
  float softcap = 0.0f;
  int64_t window = 0;  // 0 = all positions
  int kv_layer = -1;   // an earlier layer whose K and V this one reads; -1: it writes its own
  int rope = 0;        // index of the rotary settings of this layer
  bool rope_interleaved = false;

  bool writes_kv() const { return kv_layer < 0; }
  // The layer whose K and V this one, number `layer`, reads.
  int source_of(int layer) const { return writes_kv() ? layer : kv_layer; }
  InputForms input_forms() const { return writes_kv() ? forms_read_by({&q, &k, &v}) : forms_read_by({&q}); }

  struct Buffers {
    float* q = nullptr;    // [max_rows, q_size]
    float* k = nullptr;    // [max_rows, kv_size]
    float* v = nullptr;    // [max_rows, kv_size]
    float* out = nullptr;  // [max_rows, q_size]
    PackedRows packed;     // of rows of `out`
    std::byte* workspace = nullptr;

    // `layers`: the sizes of all layers that use them.
    void take(Arena& arena, const Kernels& kernels, const StepLimits& limits, std::span<const AttentionSizes> layers);
  };
  // x [num_rows, hidden_size] in its input forms -> y, written or added to; cos_sin [num_rows, 2, half_dim] of this
  // layer's rope.
  struct Call {
    int layer = 0;
    LinearInput x;
    const float* cos_sin = nullptr;
    int half_dim = 0;
    float* y = nullptr;
    bool accumulate = false;
  };
  void apply(const Step& step, const Buffers& buffers, const Call& call) const;

 private:
  // Computes Q, and K and V if the layer has its own, from x; heads rotated, K and V written to the cache.
  void project(const Step& step, const Buffers& buffers, const Call& call, const KvLayer& kv,
               const KvGroupRows& rows) const;
};

}  // namespace quire
