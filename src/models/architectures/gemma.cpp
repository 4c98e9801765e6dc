#include "models/architectures/gemma.h"

#include <cmath>

#include "base/error.h"

namespace quire {
namespace {

// GGUF files of Gemma carry 1 + weight already.
float norm_offset(const Checkpoint& checkpoint) { return checkpoint.norms_include_one() ? 0.0f : 1.0f; }

}  // namespace

DecoderConfig read_gemma_config(const Checkpoint& checkpoint) {
  const json::object& json = checkpoint.config();
  DecoderConfig config = read_decoder_config(checkpoint, {.head_dim = 256, .tied_embeddings = true});
  const double scalar = find_double(json, "query_pre_attn_scalar", 256.0);
  if (!(scalar > 0)) fail(ErrorCode::kCorrupt, "\"query_pre_attn_scalar\" is {}, expected more than 0", scalar);
  config.attention_scale = static_cast<float>(1.0 / std::sqrt(scalar));
  if (find_bool(json, "use_bidirectional_attention", false)) {
    fail(ErrorCode::kUnsupported, "{}: use_bidirectional_attention is set; this build runs causal models only",
         checkpoint.name());
  }
  return config;
}

DecoderLayer load_gemma_layer(WeightLoader& loader, const Checkpoint& checkpoint, int layer,
                              const DecoderConfig& config, bool qk_norm) {
  const json::object& json = checkpoint.config();
  const std::string prefix = layer_prefix(layer);
  const float offset = norm_offset(checkpoint);
  AttentionNames names = read_attention_bias(json);
  names.qk_norm = qk_norm;
  names.norm_offset = offset;
  const auto norm = [&](const char* name) {
    return loader.norm(prefix + name, config.info.hidden_size, config.norm_eps, offset);
  };
  DecoderLayer result;
  result.attention_norm = norm("input_layernorm.weight");
  result.attention = load_attention(loader, prefix + "self_attn.", config, names);
  result.attention.softcap = read_optional_float(json, "attn_logit_softcapping");
  result.post_attention_norm = norm("post_attention_layernorm.weight");
  result.feed_forward_norm = norm("pre_feedforward_layernorm.weight");
  result.feed_forward = load_mlp(loader, prefix + "mlp.", config);
  result.post_feed_forward_norm = norm("post_feedforward_layernorm.weight");
  return result;
}

void load_gemma_ends(WeightLoader& loader, const Checkpoint& checkpoint, const DecoderConfig& config,
                     DecoderParts& parts) {
  load_ends(loader, config, norm_offset(checkpoint), parts);
  parts.embedding.scale = static_cast<float>(std::sqrt(static_cast<double>(config.info.hidden_size)));
  parts.head.softcap = read_optional_float(checkpoint.config(), "final_logit_softcapping");
}

}  // namespace quire
