// Qwen 3 mixture of experts: Qwen 3 attention, many small experts; some layers may stay dense.
#include <algorithm>

#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {
namespace {

bool is_dense_layer(const json::object& json, int layer) {
  const json::array* dense = find_array(json, "mlp_only_layers");
  if (dense != nullptr && std::find(dense->begin(), dense->end(), json::value(layer)) != dense->end()) return true;
  const int64_t every = find_int(json, "decoder_sparse_step", 1);
  return every > 1 && (layer + 1) % every != 0;
}

}  // namespace

std::unique_ptr<Model> make_qwen3_moe(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  DecoderConfig config = read_decoder_config(checkpoint);
  config.ropes = {read_rope(json, config.info.head_dim)};
  config.routing = read_router(json, json.contains("num_experts") ? "num_experts" : "num_local_experts", 128, 8);
  config.routing.normalize = find_bool(json, "norm_topk_prob", false);
  if (find_bool(json, "use_sliding_window", false)) std::ranges::fill(config.windows, read_window(json));
  AttentionForm attention = read_attention_biases(json);
  attention.qk_norm = true;
  const MoeForm moe = {.intermediate_size = read_size(json, "moe_intermediate_size")};
  return load_decoder(loader, config, [&](int i) {
    DecoderLayer layer = load_norms(loader, config, i);
    layer.attention = load_attention(loader, config, i, attention);
    if (is_dense_layer(json, i)) {
      layer.feed_forward = load_mlp(loader, config, i);
    } else {
      layer.feed_forward = load_moe(loader, config, i, moe);
    }
    return layer;
  });
}

}  // namespace quire
