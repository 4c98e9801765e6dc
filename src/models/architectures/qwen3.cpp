// Qwen 3, dense: norms over each head of Q and K, no biases by default.
#include <utility>

#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {

std::unique_ptr<Model> make_qwen3(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  const DecoderConfig config = read_decoder_config(checkpoint, {.head_dim = 128});
  AttentionNames names = read_attention_bias(json);
  names.qk_norm = true;
  const std::vector<int64_t> windows = qwen_windows(json, config.info.num_layers);
  DecoderParts parts;
  parts.ropes = {read_rope(json, config.info.head_dim)};
  for (int i = 0; i < config.info.num_layers; ++i) {
    parts.layers.push_back(
        load_pre_norm_layer(loader, i, config, names, load_mlp(loader, layer_prefix(i) + "mlp.", config)));
    parts.layers.back().attention.window = windows[static_cast<size_t>(i)];
  }
  load_ends(loader, config, 0.0f, parts);
  return finish_decoder(loader, config, std::move(parts));
}

}  // namespace quire
