// Qwen 3 mixture of experts: Qwen 3 attention, many small experts; some layers may stay dense.
#include <algorithm>
#include <utility>

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
  Routing router = read_router(json, json.contains("num_experts") ? "num_experts" : "num_local_experts", 128, 8);
  router.normalize = find_bool(json, "norm_topk_prob", false);
  config.info.num_experts = router.num_experts;
  config.info.num_experts_per_token = router.per_row;
  AttentionNames names = read_attention_bias(json);
  names.qk_norm = true;
  const int64_t window = find_bool(json, "use_sliding_window", false) ? read_window(json) : 0;
  DecoderParts parts;
  parts.ropes = {read_rope(json, config.info.head_dim)};
  for (int i = 0; i < config.info.num_layers; ++i) {
    const std::string block = layer_prefix(i) + "mlp.";
    const MoeNames moe_names{.block = block,
                             .gate = "gate_proj",
                             .up = "up_proj",
                             .down = "down_proj",
                             .intermediate_size = read_size(json, "moe_intermediate_size"),
                             .router = router};
    std::variant<Mlp, Moe> feed_forward;
    if (is_dense_layer(json, i)) {
      feed_forward = load_mlp(loader, block, config);
    } else {
      feed_forward = load_moe(loader, moe_names, config);
    }
    parts.layers.push_back(load_pre_norm_layer(loader, i, config, names, std::move(feed_forward)));
    parts.layers.back().attention.window = window;
  }
  load_ends(loader, config, 0.0f, parts);
  return finish_decoder(loader, config, std::move(parts));
}

}  // namespace quire
