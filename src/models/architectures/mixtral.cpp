// Mixtral: Mistral with a mixture of experts in every layer (arXiv 2401.04088).
#include <utility>

#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {

std::unique_ptr<Model> make_mixtral(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  DecoderConfig config = read_decoder_config(checkpoint, {.norm_eps = 1e-5});
  const Routing router = read_router(json, "num_local_experts", 8, 2);
  config.info.num_experts = router.num_experts;
  config.info.num_experts_per_token = router.per_row;
  DecoderParts parts;
  parts.ropes = {read_rope(json, config.info.head_dim, {.theta = 1e6})};
  for (int i = 0; i < config.info.num_layers; ++i) {
    const MoeNames names{.block = layer_prefix(i) + "block_sparse_moe.",
                         .gate = "w1",
                         .up = "w3",
                         .down = "w2",
                         .intermediate_size = config.info.intermediate_size,
                         .router = router};
    parts.layers.push_back(load_pre_norm_layer(loader, i, config, {}, load_moe(loader, names, config)));
    parts.layers.back().attention.window = read_window(json);
  }
  load_ends(loader, config, 0.0f, parts);
  return finish_decoder(loader, config, std::move(parts));
}

}  // namespace quire
