// Mixtral: Mistral with a mixture of experts in every layer (arXiv 2401.04088).
#include <algorithm>

#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {

std::unique_ptr<Model> make_mixtral(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  DecoderConfig config = read_decoder_config(checkpoint, {.norm_eps = 1e-5});
  config.ropes = {read_rope(json, config.info.head_dim, {.theta = 1e6})};
  config.routing = read_router(json, "num_local_experts", 8, 2);
  std::ranges::fill(config.windows, read_window(json));
  const MoeForm moe = {.block = "block_sparse_moe.",
                       .gate = "w1",
                       .up = "w3",
                       .down = "w2",
                       .intermediate_size = config.info.intermediate_size};
  return load_decoder(loader, config, [&](int i) {
    DecoderLayer layer = load_norms(loader, config, i);
    layer.attention = load_attention(loader, config, i);
    layer.feed_forward = load_moe(loader, config, i, moe);
    return layer;
  });
}

}  // namespace quire
