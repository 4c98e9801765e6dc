// Mistral 7B and its kin: Llama with, in the first version, a sliding window on every layer.
#include <algorithm>

#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {

std::unique_ptr<Model> make_mistral(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  DecoderConfig config = read_decoder_config(checkpoint);
  config.ropes = {read_rope(json, config.info.head_dim)};
  std::ranges::fill(config.windows, read_window(json));
  return load_decoder(loader, config, [&](int i) {
    DecoderLayer layer = load_norms(loader, config, i);
    layer.attention = load_attention(loader, config, i);
    layer.feed_forward = load_mlp(loader, config, i);
    return layer;
  });
}

}  // namespace quire
