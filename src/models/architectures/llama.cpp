// Llama 2, 3 and 3.x: the plain decoder that most others vary.
#include <utility>

#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {

std::unique_ptr<Model> make_llama(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  const DecoderConfig config = read_decoder_config(checkpoint);
  const AttentionNames names = read_attention_bias(json);
  const bool mlp_bias = find_bool(json, "mlp_bias", false);
  DecoderParts parts;
  parts.ropes = {read_rope(json, config.info.head_dim)};
  for (int i = 0; i < config.info.num_layers; ++i) {
    parts.layers.push_back(
        load_pre_norm_layer(loader, i, config, names, load_mlp(loader, layer_prefix(i) + "mlp.", config, mlp_bias)));
  }
  load_ends(loader, config, 0.0f, parts);
  return finish_decoder(loader, config, std::move(parts));
}

}  // namespace quire
