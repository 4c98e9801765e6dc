// Gemma 3, text (arXiv 2503.19786): five layers with a sliding window and another RoPE base for every layer with full
// attention, norms over each head of Q and K.
#include "base/error.h"
#include "models/architectures/gemma.h"
#include "models/architectures/registry.h"

namespace quire {

std::unique_ptr<Model> make_gemma3(const Checkpoint& checkpoint, WeightLoader& loader) {
  const json::object& json = checkpoint.config();
  DecoderConfig config = read_gemma_config(checkpoint);
  config.ropes = {
      read_rope(json, config.info.head_dim, {.theta = 1e6, .layer_type = "full_attention"}),
      read_rope(json, config.info.head_dim,
                {.layer_type = "sliding_attention", .theta_key = "rope_local_base_freq", .use_rope_scaling = false})};
  const int64_t pattern = find_int(json, "sliding_window_pattern", 6);
  if (pattern < 1) fail(ErrorCode::kCorrupt, "\"sliding_window_pattern\" is {}, expected 1 or more", pattern);
  config.windows = layer_windows(json, config.info.num_layers, read_window(json),
                                 [&](int layer) { return (layer + 1) % pattern != 0; });
  AttentionForm attention = read_attention_biases(json);
  attention.qk_norm = true;
  return load_decoder(loader, config, [&](int i) {
    DecoderLayer layer = load_gemma_layer(loader, config, i, attention);
    layer.attention.rope = layer.attention.window > 0 ? 1 : 0;
    return layer;
  });
}

}  // namespace quire
