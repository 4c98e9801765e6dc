#include "models/architectures/gemma.h"

#include <cmath>

#include "base/error.h"

namespace quire {
DecoderConfig read_gemma_config(const Checkpoint& checkpoint) {
  const json::object& json = checkpoint.config();
  DecoderConfig config =
      read_decoder_config(checkpoint, {.head_dim = 256, .tied_embeddings = true, .context_is_scaled = true});
  const double scalar = find_double(json, "query_pre_attn_scalar", 256.0);
  if (!(scalar > 0)) fail(ErrorCode::kCorrupt, "\"query_pre_attn_scalar\" is {}, expected more than 0", scalar);
  config.attention_scale = static_cast<float>(1.0 / std::sqrt(scalar));
  // GGUF files of Gemma carry 1 + weight already.
  config.norm_offset = checkpoint.norms_include_one() ? 0.0f : 1.0f;
  config.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(config.info.hidden_size)));
  config.attention_softcap = read_optional_float(json, "attn_logit_softcapping");
  config.logit_softcap = read_optional_float(json, "final_logit_softcapping");
  return config;
}

DecoderLayer load_gemma_layer(WeightLoader& loader, const DecoderConfig& config, int layer,
                              const AttentionForm& attention) {
  DecoderLayer result = load_norms(loader, config, layer,
                                   {.attention = "input_layernorm",
                                    .post_attention = "post_attention_layernorm",
                                    .feed_forward = "pre_feedforward_layernorm",
                                    .post_feed_forward = "post_feedforward_layernorm"});
  result.attention = load_attention(loader, config, layer, attention);
  result.feed_forward = load_mlp(loader, config, layer);
  return result;
}

}  // namespace quire
