// Qwen 3, dense: norms over each head of Q and K, no biases by default.
#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {

std::unique_ptr<Model> make_qwen3(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  DecoderConfig config = read_decoder_config(checkpoint, {.head_dim = 128});
  config.ropes = {read_rope(json, config.info.head_dim)};
  config.windows = qwen_windows(json, config.info.num_layers);
  AttentionForm attention = read_attention_biases(json);
  attention.qk_norm = true;
  return load_decoder(loader, config, [&](int i) {
    DecoderLayer layer = load_norms(loader, config, i);
    layer.attention = load_attention(loader, config, i, attention);
    layer.feed_forward = load_mlp(loader, config, i);
    return layer;
  });
}

}  // namespace quire
