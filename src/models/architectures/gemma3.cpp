// Gemma 3, text (arXiv 2503.19786): five layers with a window and a RoPE base of their own to one that sees everything,
// norms over each head of Q and K.
#include <utility>

#include "base/error.h"
#include "models/architectures/gemma.h"
#include "models/architectures/registry.h"

namespace quire {

std::unique_ptr<Model> make_gemma3(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  const DecoderConfig config = read_gemma_config(checkpoint);
  const int64_t pattern = find_int(json, "sliding_window_pattern", 6);
  if (pattern < 1) fail(ErrorCode::kCorrupt, "\"sliding_window_pattern\" is {}, expected 1 or more", pattern);
  const int64_t window = read_window(json);
  const std::vector<int64_t> windows =
      layer_windows(json, config.info.num_layers, window, [&](int layer) { return (layer + 1) % pattern != 0; });
  DecoderParts parts;
  parts.ropes = {
      read_rope(json, config.info.head_dim, {.theta = 1e6, .layer_type = "full_attention"}),
      read_rope(json, config.info.head_dim,
                {.layer_type = "sliding_attention", .theta_key = "rope_local_base_freq", .use_rope_scaling = false})};
  for (int i = 0; i < config.info.num_layers; ++i) {
    parts.layers.push_back(load_gemma_layer(loader, checkpoint, i, config, true));
    Attention& attention = parts.layers.back().attention;
    attention.window = windows[static_cast<size_t>(i)];
    attention.rope = attention.window > 0 ? 1 : 0;
  }
  load_gemma_ends(loader, checkpoint, config, parts);
  return finish_decoder(loader, config, std::move(parts));
}

}  // namespace quire
