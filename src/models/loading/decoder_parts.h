// The parts of a decoder under Hugging Face's usual names, loaded into layers/. Architectures that name or fuse things
// otherwise load those parts themselves.
#pragma once

#include <memory>
#include <string>
#include <variant>

#include "models/layers/decoder.h"
#include "models/loading/config.h"
#include "models/loading/weight_loader.h"

namespace quire {

inline std::string layer_prefix(int layer) { return "model.layers." + std::to_string(layer) + "."; }

struct AttentionNames {
  bool qkv_bias = false;
  bool output_bias = false;
  bool qk_norm = false;      // q_norm, k_norm over each head
  float norm_offset = 0.0f;  // of q_norm and k_norm
};
// `attention_bias`: on all four matrices, unless a GGUF file has them on Q, K and V alone (`attention_output_bias`).
AttentionNames read_attention_bias(const json::object& config);
// `prefix`: "model.layers.3.self_attn."
Attention load_attention(WeightLoader& loader, const std::string& prefix, const DecoderConfig& config,
                         const AttentionNames& names = {});
// The rank's heads, scale and RoPE form without weights: what load_attention starts from.
Attention plain_attention(WeightLoader& loader, const DecoderConfig& config);
// `prefix`: "model.layers.3.mlp."
Mlp load_mlp(WeightLoader& loader, const std::string& prefix, const DecoderConfig& config, bool bias = false);

struct MoeNames {
  std::string block;           // "model.layers.3.mlp."
  std::string gate, up, down;  // inside "<block>experts.<n>."
  int64_t intermediate_size = 0;
  Routing router;
};
// Experts one by one, or stacked as `experts.gate_up_proj` and `experts.down_proj`.
Moe load_moe(WeightLoader& loader, const MoeNames& names, const DecoderConfig& config);

// A layer with one norm before each block.
DecoderLayer load_pre_norm_layer(WeightLoader& loader, int layer, const DecoderConfig& config,
                                 const AttentionNames& names, std::variant<Mlp, Moe> feed_forward);

// Embedding, final norm and output matrix (the embedding again when tied).
void load_ends(WeightLoader& loader, const DecoderConfig& config, float norm_offset, DecoderParts& parts);

// The model from its parts: info gets its windows and parameter count from them.
std::unique_ptr<Model> finish_decoder(const WeightLoader& loader, DecoderConfig config, DecoderParts parts);

}  // namespace quire
