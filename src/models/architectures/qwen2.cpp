// Qwen 2 and 2.5: biases on Q, K and V; a window on the upper layers when use_sliding_window says so.
#include <utility>

#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {

std::unique_ptr<Model> make_qwen2(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  const DecoderConfig config = read_decoder_config(checkpoint);
  const std::vector<int64_t> windows = qwen_windows(json, config.info.num_layers);
  DecoderParts parts;
  parts.ropes = {read_rope(json, config.info.head_dim)};
  for (int i = 0; i < config.info.num_layers; ++i) {
    parts.layers.push_back(
        load_pre_norm_layer(loader, i, config, {.qkv_bias = true}, load_mlp(loader, layer_prefix(i) + "mlp.", config)));
    parts.layers.back().attention.window = windows[static_cast<size_t>(i)];
  }
  load_ends(loader, config, 0.0f, parts);
  return finish_decoder(loader, config, std::move(parts));
}

}  // namespace quire
