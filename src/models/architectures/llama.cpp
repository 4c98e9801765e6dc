// Llama 2, 3 and 3.x: the plain decoder that most others vary.
#include "models/architectures/registry.h"
#include "models/loading/decoder_parts.h"

namespace quire {

std::unique_ptr<Model> make_llama(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  DecoderConfig config = read_decoder_config(checkpoint);
  config.ropes = {read_rope(json, config.info.head_dim)};
  const AttentionForm attention = read_attention_biases(json);
  const MlpForm mlp = {.bias = find_bool(json, "mlp_bias", false)};
  return load_decoder(loader, config, [&](int i) {
    DecoderLayer layer = load_norms(loader, config, i);
    layer.attention = load_attention(loader, config, i, attention);
    layer.feed_forward = load_mlp(loader, config, i, mlp);
    return layer;
  });
}

}  // namespace quire
