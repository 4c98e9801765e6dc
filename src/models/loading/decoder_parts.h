// The parts of a decoder under Hugging Face's usual names, loaded into layers/. An architecture reads its configuration
// and says, layer by layer, which parts there are and what they are called; load_decoder makes the model from them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "models/layers/decoder.h"
#include "models/loading/config.h"
#include "models/loading/weight_loader.h"

namespace quire {

// The model: config.info.num_layers layers, made by `make_layer`, between embedding and head; or the stage of it that
// the loader is to load.
std::unique_ptr<Model> load_decoder(WeightLoader& loader, const DecoderConfig& config,
                                    const std::function<DecoderLayer(int layer)>& make_layer);

// Names of the norms of a layer, without ".weight"; empty: the layer has no such norm.
struct NormNames {
  const char* attention = "input_layernorm";
  const char* post_attention = "";
  const char* feed_forward = "post_attention_layernorm";
  const char* post_feed_forward = "";
};
// A layer with its norms and nothing else.
DecoderLayer load_norms(WeightLoader& loader, const DecoderConfig& config, int layer, const NormNames& names = {});

struct AttentionForm {
  bool qkv_bias = false;
  bool output_bias = false;
  bool qk_norm = false;    // q_norm, k_norm over each head
  int64_t input_size = 0;  // what Q, K and V read; 0: hidden_size
  bool is_fused = false;   // Q, K and V are the rows of one qkv_proj, without biases
};
// `attention_bias`: on all four matrices, unless a GGUF file has them on Q, K and V alone (`attention_output_bias`).
AttentionForm read_attention_biases(const json::object& config);
// "self_attn." of a layer.
Attention load_attention(WeightLoader& loader, const DecoderConfig& config, int layer, const AttentionForm& form = {});

struct MlpForm {
  bool bias = false;
  bool is_fused = false;  // gate and up are the rows of one gate_up_proj, without biases
};
// "mlp." of a layer.
Mlp load_mlp(WeightLoader& loader, const DecoderConfig& config, int layer, const MlpForm& form = {});

struct MoeForm {
  const char* block = "mlp.";
  const char* gate = "gate_proj";  // inside "<block>experts.<n>."
  const char* up = "up_proj";
  const char* down = "down_proj";
  int64_t intermediate_size = 0;
};
// `block` of a layer, whose experts config.routing counts: one by one, or stacked as `experts.gate_up_proj` and
// `experts.down_proj`.
Moe load_moe(WeightLoader& loader, const DecoderConfig& config, int layer, const MoeForm& form);

}  // namespace quire
