// Qwen 2 and 2.5: biases on Q, K and V; a window on the upper layers when use_sliding_window says so.
#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {

std::unique_ptr<Model> make_qwen2(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  DecoderConfig config = read_decoder_config(checkpoint);
  config.ropes = {read_rope(json, config.info.head_dim)};
  config.windows = qwen_windows(json, config.info.num_layers);
  return load_decoder(loader, config, [&](int i) {
    DecoderLayer layer = load_norms(loader, config, i);
    layer.attention = load_attention(loader, config, i, {.qkv_bias = true});
    layer.feed_forward = load_mlp(loader, config, i);
    return layer;
  });
}

}  // namespace quire
