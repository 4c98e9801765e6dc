// Sizes of published models, for weights made on the spot (synthetic_checkpoint.h): a benchmark's description of a
// model that has no file. From the models' own config.json files. Immutable; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace quire {

struct ModelShape {
  const char* name;          // "llama-3.2-1b"
  const char* architecture;  // as GGUF files call it: "llama", "qwen3moe"
  int64_t vocab, hidden, inner, layers, heads, kv_heads, head_dim;
  bool tied;  // the embedding is the head
  double rope_theta;
  int64_t context;
  int64_t window = 0;  // of sliding layers; 0 = none
  // Mixtures: `inner` is the size of one expert.
  int64_t experts = 0;
  int64_t experts_per_token = 0;

  bool is(std::string_view other) const { return other == architecture; }
  bool has_qkv_bias() const { return is("qwen2"); }
  bool has_qk_norm() const { return is("qwen3") || is("qwen3moe") || is("gemma3"); }
  bool has_post_norms() const { return is("gemma3"); }
};

std::span<const ModelShape> model_shapes();
// Throws Error naming all shapes.
const ModelShape& model_shape(std::string_view name);

}  // namespace quire
