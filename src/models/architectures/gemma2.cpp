// Gemma 2 (arXiv 2408.00118): windows on every other layer, soft caps on scores and logits.
#include <utility>

#include "models/architectures/gemma.h"
#include "models/architectures/registry.h"

namespace quire {

std::unique_ptr<Model> make_gemma2(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  const DecoderConfig config = read_gemma_config(checkpoint);
  const std::vector<int64_t> windows =
      layer_windows(json, config.info.num_layers, read_window(json), [](int layer) { return layer % 2 == 0; });
  DecoderParts parts;
  parts.ropes = {read_rope(json, config.info.head_dim)};
  for (int i = 0; i < config.info.num_layers; ++i) {
    parts.layers.push_back(load_gemma_layer(loader, checkpoint, i, config, false));
    parts.layers.back().attention.window = windows[static_cast<size_t>(i)];
  }
  load_gemma_ends(loader, checkpoint, config, parts);
  return finish_decoder(loader, config, std::move(parts));
}

}  // namespace quire
