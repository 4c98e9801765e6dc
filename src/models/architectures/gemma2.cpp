// Gemma 2 (arXiv 2408.00118): windows on every other layer, soft caps on scores and logits.
#include "models/architectures/gemma.h"
#include "models/architectures/registry.h"

namespace quire {

std::unique_ptr<Model> make_gemma2(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  DecoderConfig config = read_gemma_config(checkpoint);
  config.ropes = {read_rope(json, config.info.head_dim)};
  config.windows =
      layer_windows(json, config.info.num_layers, read_window(json), [](int layer) { return layer % 2 == 0; });
  const AttentionForm attention = read_attention_biases(json);
  return load_decoder(loader, config, [&](int i) { return load_gemma_layer(loader, config, i, attention); });
}

}  // namespace quire
