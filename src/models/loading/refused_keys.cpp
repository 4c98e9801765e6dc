#include "models/loading/refused_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>

#include "base/error.h"

namespace quire {
namespace {

constexpr std::array<double, 2> kOne = {1, 1};
constexpr std::array<double, 2> kZeroOrOne = {0, 1};

constexpr std::string_view kLabels = "classifier.output_labels";

// Keys of the list of llama.cpp, which reads them for architectures that this build does not have.
constexpr RefusedKey kGgufKeys[] = {
    {"attention.causal", "attention that sees later tokens", kOne},
    {"attention.max_alibi_bias", "ALiBi positions"},
    {"attention.clamp_kqv", "clamped Q, K and V"},
    {"attention.scale", "a scale of attention of its own"},
    {"attention.output_scale", "scaled outputs of attention", kZeroOrOne},
    {"attention.value_scale", "scaled values of attention", kZeroOrOne},
    {"attention.temperature_length", "attention scaled by the position"},
    {"attention.temperature_scale", "attention scaled by the position"},
    {"attention.relative_buckets_count", "relative position buckets"},
    {"attention.shared_kv_layers", "layers that share K and V"},
    {"attention.recurrent_layers", "recurrent layers"},
    {"attention.q_lora_rank", "latent attention (MLA)"},
    {"attention.kv_lora_rank", "latent attention (MLA)"},
    {"attention.key_length_mla", "latent attention (MLA)"},
    {"attention.value_length_mla", "latent attention (MLA)"},
    {"attention.key_length_swa", "other heads in layers with a window", {0, 0}, "attention.key_length"},
    {"attention.value_length_swa", "other heads in layers with a window", {0, 0}, "attention.value_length"},
    {"attention.indexer.head_count", "sparse attention"},
    {"attention.sliding_window_pattern", "windows on some layers only", kOne, {}, "gemma3"},
    {"attn_logit_softcapping", "soft-capped scores", {0, 0}, {}, "gemma"},
    {"final_logit_softcapping", "soft-capped logits", {0, 0}, {}, "gemma"},
    {"router_logit_softcapping", "soft-capped routers"},
    {"rope.dimension_sections", "positions of several dimensions (M-RoPE)"},
    {"rope.dimension_count_swa", "another RoPE in layers with a window", {0, 0}, "rope.dimension_count"},
    {"rope.scaling.alpha", "NTK-scaled RoPE", kZeroOrOne},
    {"rope.scaling.yarn_log_multiplier", "YaRN with a scale of attention of its own"},
    {"rope.scaling.yarn_ext_factor", "YaRN mixed in part", {1, -1}},
    {"rope.scaling.yarn_attn_factor", "YaRN with a scale of attention of its own", kZeroOrOne},
    {"expert_gating_func", "routers without softmax", kZeroOrOne},
    {"expert_shared_count", "shared experts"},
    {"expert_shared_feed_forward_length", "shared experts"},
    {"expert_chunk_feed_forward_length", "experts in chunks"},
    {"expert_group_count", "groups of experts", kZeroOrOne},
    {"expert_group_used_count", "groups of experts", kZeroOrOne},
    {"expert_group_scale", "groups of experts", kZeroOrOne},
    {"experts_per_group", "groups of experts"},
    {"expert_weights_scale", "scaled weights of experts", kZeroOrOne},
    {"leading_dense_block_count", "first layers without experts"},
    {"moe_every_n_layers", "experts in some layers only", kZeroOrOne},
    {"interleave_moe_layer_step", "experts in some layers only", kZeroOrOne},
    {"moe_latent_size", "experts of another width"},
    {"full_attention_interval", "linear attention", kZeroOrOne},
    {"use_parallel_residual", "attention and feed-forward side by side"},
    {"norm_before_residual", "norms before the residual"},
    {"swin_norm", "norms behind the blocks"},
    {"swiglu_clamp_exp", "clamped experts"},
    {"swiglu_clamp_shexp", "clamped experts"},
    {"logit_scale", "scaled logits", kZeroOrOne},
    {"residual_scale", "scaled residuals", kZeroOrOne},
    {"embedding_scale", "scaled embeddings", kZeroOrOne},
    {"embedding_length_per_layer_input", "embeddings for each layer"},
    {"embedding_length_out", "outputs of another width", {0, 0}, "embedding_length"},
    {"nextn_predict_layers", "layers that predict further tokens"},
    {"n_deepstack_layers", "images in several layers"},
    {"decoder_block_count", "a decoder behind an encoder"},
    {kLabels, "a classifier"},
    {"dense_2_feat_in", "layers behind the pooling of embeddings"},
    {"dense_3_feat_in", "layers behind the pooling of embeddings"},
    {"hyper_connection.count", "hyper-connections"},
    {"hash_layer_count", "layers of hashes"},
    {"ssm.state_size", "state-space layers"},
    {"shortconv.l_cache", "convolutions"},
};

// Fields of Transformers' configurations that the classes of the known architectures, or the code that files of those
// names bring with them, follow.
constexpr RefusedKey kConfigKeys[] = {
    {"is_causal", "attention that sees later tokens", kOne},
    {"use_bidirectional_attention", "attention that sees later tokens"},
    {"is_encoder_decoder", "an encoder"},
    {"add_cross_attention", "an encoder"},
    {"pruned_heads", "heads that are left out"},
    {"alibi", "ALiBi positions"},
    {"clip_qkv", "clamped Q, K and V"},
    {"attention_multiplier", "a scale of attention of its own"},
    {"embedding_multiplier", "scaled embeddings", kZeroOrOne},
    {"residual_multiplier", "scaled residuals", kZeroOrOne},
    {"logits_scaling", "scaled logits", kZeroOrOne},
    {"logit_scale", "scaled logits", kZeroOrOne},
    {"attn_logit_softcapping", "soft-capped scores", {0, 0}, {}, "gemma"},
    {"final_logit_softcapping", "soft-capped logits", {0, 0}, {}, "gemma"},
    {"num_kv_shared_layers", "layers that share K and V"},
    {"kv_lora_rank", "latent attention (MLA)"},
    {"attention_chunk_size", "attention in chunks"},
    {"n_shared_experts", "shared experts"},
    {"shared_expert_intermediate_size", "shared experts"},
    {"routed_scaling_factor", "scaled weights of experts", kZeroOrOne},
    {"n_group", "groups of experts", kZeroOrOne},
    {"first_k_dense_replace", "first layers without experts"},
    {"num_nextn_predict_layers", "layers that predict further tokens"},
};

constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

// As RefusedKey::harmless counts; NaN for what is no number.
double number_of(const GgufFile& file, const std::string& key) {
  const GgufValue& value = *file.find(key);
  if (value.type == GgufType::kString) return kNoNumber;
  if (value.type == GgufType::kBool) return file.get_bool(key) ? 1 : 0;
  if (value.type != GgufType::kArray) return file.get_double(key);
  const bool is_zero =
      value.count == 0 || (value.element_type != GgufType::kString &&
                           std::ranges::all_of(value.bytes, [](std::byte b) { return b == std::byte{}; }));
  return is_zero ? 0 : kNoNumber;
}

double number_of(const json::value& value) {
  if (value.is_bool()) return value.get_bool() ? 1 : 0;
  if (value.is_number()) return value.to_number<double>();
  const bool is_empty =
      (value.is_array() && value.get_array().empty()) || (value.is_object() && value.get_object().empty());
  return is_empty ? 0 : kNoNumber;
}

bool asks_for_nothing(const RefusedKey& refused, double number) {
  return std::ranges::find(refused.harmless, number) != refused.harmless.end();
}

[[noreturn]] void refuse(std::string_view file, std::string_view key, double number, std::string_view meaning) {
  const std::string found = number == number ? fmt::format(" is {}", number) : std::string(" is set");
  fail(ErrorCode::kUnsupported, "{}: \"{}\"{}: the model has {}, which this build does not run", file, key, found,
       meaning);
}

// A ranker's classifier of these two words is nothing but their rows of the head (dialogue/relevance.h).
bool answers_in_words(const GgufFile& file, std::string_view architecture, const std::string& key) {
  constexpr int64_t kRank = 4;
  if (file.find_int(fmt::format("{}.pooling_type", architecture), 0) != kRank) return false;
  const GgufValue& labels = *file.find(key);
  if (labels.type != GgufType::kArray || labels.element_type != GgufType::kString) return false;
  return file.get_strings(key) == std::vector<std::string_view>{"yes", "no"};
}

void check_gguf(const GgufFile& file) {
  const std::string_view type = file.find_string("general.type", "model");
  if (type != "model") {
    fail(ErrorCode::kUnsupported, "{}: \"general.type\" is {}; expected a model", file.name(), printable(type));
  }
  const std::string_view architecture = file.get_string("general.architecture");
  for (const RefusedKey& refused : refused_gguf_keys()) {
    const std::string key = fmt::format("{}.{}", architecture, refused.key);
    if (!file.has(key) || (!refused.read_by.empty() && architecture.starts_with(refused.read_by))) continue;
    if (refused.key == kLabels && answers_in_words(file, architecture, key)) continue;
    const double number = number_of(file, key);
    if (asks_for_nothing(refused, number)) continue;
    const std::string same = fmt::format("{}.{}", architecture, refused.same_as);
    if (!refused.same_as.empty() && file.has(same) && number_of(file, same) == number) continue;
    refuse(file.name(), key, number, refused.meaning);
  }
}

}  // namespace

std::span<const RefusedKey> refused_gguf_keys() { return kGgufKeys; }
std::span<const RefusedKey> refused_config_keys() { return kConfigKeys; }

void check_refused_keys(const Checkpoint& checkpoint) {
  if (checkpoint.gguf() != nullptr) return check_gguf(*checkpoint.gguf());
  const json::object& config = checkpoint.config();
  const std::string type = find_string(config, "model_type", "");
  for (const RefusedKey& refused : refused_config_keys()) {
    const json::value* value = find_member(config, refused.key);
    if (value == nullptr || (!refused.read_by.empty() && type.starts_with(refused.read_by))) continue;
    const double number = number_of(*value);
    if (!asks_for_nothing(refused, number)) refuse(checkpoint.name(), refused.key, number, refused.meaning);
  }
}

}  // namespace quire
