// Phi-3 and Phi-3.5 mini, medium: Q, K and V in one tensor, gate and up in another; LongRoPE in the 128k versions.
#include <algorithm>

#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {

std::unique_ptr<Model> make_phi3(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  DecoderConfig config = read_decoder_config(checkpoint, {.norm_eps = 1e-5});
  config.ropes = {read_rope(json, config.info.head_dim, {.yarn_is_longrope = true})};
  std::ranges::fill(config.windows, read_window(json));
  return load_decoder(loader, config, [&](int i) {
    DecoderLayer layer = load_norms(loader, config, i);
    layer.attention = load_attention(loader, config, i, {.is_fused = true});
    layer.feed_forward = load_mlp(loader, config, i, {.is_fused = true});
    return layer;
  });
}

}  // namespace quire
