// Mistral 7B and its kin: Llama with, in the first version, a sliding window on every layer.
#include <utility>

#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {

std::unique_ptr<Model> make_mistral(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  const DecoderConfig config = read_decoder_config(checkpoint);
  const int64_t window = read_window(json);
  DecoderParts parts;
  parts.ropes = {read_rope(json, config.info.head_dim)};
  for (int i = 0; i < config.info.num_layers; ++i) {
    parts.layers.push_back(
        load_pre_norm_layer(loader, i, config, {}, load_mlp(loader, layer_prefix(i) + "mlp.", config)));
    parts.layers.back().attention.window = window;
  }
  load_ends(loader, config, 0.0f, parts);
  return finish_decoder(loader, config, std::move(parts));
}

}  // namespace quire
