// Phi-3 and Phi-3.5 mini, medium: Q, K and V in one tensor, gate and up in another; LongRoPE in the 128k versions.
#include <utility>

#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {

std::unique_ptr<Model> make_phi3(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  const DecoderConfig config = read_decoder_config(checkpoint, {.norm_eps = 1e-5});
  const ModelInfo& info = config.info;
  const AttentionSizes sizes = config.attention_sizes();
  const int64_t qkv_size = sizes.q_size() + 2 * sizes.kv_size();
  const int64_t inner = info.intermediate_size;
  DecoderParts parts;
  parts.ropes = {read_rope(json, info.head_dim, {.yarn_is_longrope = true})};
  for (int i = 0; i < info.num_layers; ++i) {
    const std::string prefix = layer_prefix(i);
    const std::string qkv = prefix + "self_attn.qkv_proj.weight";
    const std::string gate_up = prefix + "mlp.gate_up_proj.weight";
    DecoderLayer layer;
    layer.attention_norm = loader.norm(prefix + "input_layernorm.weight", info.hidden_size, config.norm_eps);
    layer.attention = plain_attention(loader, config);
    layer.attention.window = read_window(json);
    layer.attention.q = loader.linear_rows(qkv, qkv_size, 0, sizes.q_size(), info.hidden_size);
    layer.attention.k = loader.linear_rows(qkv, qkv_size, sizes.q_size(), sizes.kv_size(), info.hidden_size);
    layer.attention.v =
        loader.linear_rows(qkv, qkv_size, sizes.q_size() + sizes.kv_size(), sizes.kv_size(), info.hidden_size);
    layer.attention.o =
        loader.linear(prefix + "self_attn.o_proj.weight", info.hidden_size, sizes.q_size(), Division::kColumns);
    layer.feed_forward_norm =
        loader.norm(prefix + "post_attention_layernorm.weight", info.hidden_size, config.norm_eps);
    layer.feed_forward =
        Mlp{.gate = loader.linear_rows(gate_up, 2 * inner, 0, inner, info.hidden_size),
            .up = loader.linear_rows(gate_up, 2 * inner, inner, inner, info.hidden_size),
            .down = loader.linear(prefix + "mlp.down_proj.weight", info.hidden_size, inner, Division::kColumns),
            .activation = config.activation};
    parts.layers.push_back(layer);
  }
  load_ends(loader, config, 0.0f, parts);
  return finish_decoder(loader, config, std::move(parts));
}

}  // namespace quire
