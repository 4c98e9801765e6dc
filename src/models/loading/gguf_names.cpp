#include "models/loading/gguf_names.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <vector>

#include "base/error.h"

namespace quire {
namespace {

constexpr GgufArchitecture kArchitectures[] = {
    {"llama", "llama", "LlamaForCausalLM", true, false},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", false, false},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", false, false},
    {"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", false, false},
    {"gemma2", "gemma2", "Gemma2ForCausalLM", false, true},
    {"gemma3", "gemma3_text", "Gemma3ForCausalLM", false, true},
    {"phi3", "phi3", "Phi3ForCausalLM", false, false},
};

struct NamePair {
  std::string_view hf;
  std::string_view gguf;
};

constexpr NamePair kModelNames[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

// After "model.layers.<n>." and "blk.<n>.".
constexpr NamePair kLayerNames[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_proj.bias", "attn_q.bias"},
    {"self_attn.k_proj.bias", "attn_k.bias"},
    {"self_attn.v_proj.bias", "attn_v.bias"},
    {"self_attn.o_proj.bias", "attn_output.bias"},
    {"self_attn.qkv_proj.weight", "attn_qkv.weight"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"mlp.gate_proj.bias", "ffn_gate.bias"},
    {"mlp.up_proj.bias", "ffn_up.bias"},
    {"mlp.down_proj.bias", "ffn_down.bias"},
    {"mlp.gate_up_proj.weight", "ffn_up.weight"},
    {"mlp.gate.weight", "ffn_gate_inp.weight"},
    {"block_sparse_moe.gate.weight", "ffn_gate_inp.weight"},
};
constexpr NamePair kPreNormNames[] = {{"post_attention_layernorm.weight", "ffn_norm.weight"}};
constexpr NamePair kGemmaNormNames[] = {
    {"post_attention_layernorm.weight", "post_attention_norm.weight"},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight"},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight"},
};

// After "mlp.experts.<e>." or "block_sparse_moe.experts.<e>.": the middle of "ffn_<x>_exps.weight" (all experts in one
// tensor) and of "ffn_<x>.<e>.weight" (Mixtral's first files).
constexpr NamePair kExpertNames[] = {
    {"gate_proj.weight", "gate"}, {"up_proj.weight", "up"}, {"down_proj.weight", "down"},
    {"w1.weight", "gate"},        {"w3.weight", "up"},      {"w2.weight", "down"},
};

template <size_t N>
std::optional<std::string_view> translate(const NamePair (&names)[N], std::string_view hf) {
  for (const NamePair& pair : names) {
    if (pair.hf == hf) return pair.gguf;
  }
  return std::nullopt;
}

// Takes "<number>." off the front.
std::optional<int64_t> take_number(std::string_view& text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data() + text.size() || *end != '.' || number < 0) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()) + 1);
  return number;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::optional<TensorView> as_optional(const TensorView* view) {
  return view == nullptr ? std::nullopt : std::optional<TensorView>(*view);
}

std::optional<TensorView> find_expert(const GgufFile& file, int64_t layer, std::string_view rest) {
  const auto expert = take_number(rest);
  const auto part = translate(kExpertNames, rest);
  if (!expert || !part) return std::nullopt;
  const TensorView* stack = file.find_tensor(fmt::format("blk.{}.ffn_{}_exps.weight", layer, *part));
  if (stack == nullptr)
    return as_optional(file.find_tensor(fmt::format("blk.{}.ffn_{}.{}.weight", layer, *part, *expert)));
  if (stack->rank != 3 || *expert >= stack->shape[0]) return std::nullopt;
  TensorView view = *stack;
  view.rank = 2;
  view.shape = {stack->shape[1], stack->shape[2]};
  view.data = stack->row(*expert * stack->shape[1]);
  view.size_bytes = static_cast<size_t>(stack->shape[1]) * stack->row_bytes();
  return view;
}

// ---- metadata -----------------------------------------------------------------------------------------------------

json::array floats_of_tensor(const GgufFile& file, std::string_view name) {
  const TensorView& view = file.get_tensor(name);
  constexpr int64_t kMaxFactors = 1 << 16;
  if (view.num_elements() > kMaxFactors) {
    fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" has {} elements, expected at most {}", file.name(), name,
         view.num_elements(), kMaxFactors);
  }
  std::vector<float> values(static_cast<size_t>(view.num_elements()));
  dequantize(view, values);
  return json::array(values.begin(), values.end());
}

class ConfigTranslation {
 public:
  ConfigTranslation(const GgufFile& file, const GgufArchitecture& architecture)
      : file_(file), architecture_(architecture) {}

  json::object run() {
    sizes();
    attention();
    experts();
    rope();
    if (architecture_.is_gemma) gemma();
    return std::move(config_);
  }

 private:
  std::string key(std::string_view rest) const { return fmt::format("{}.{}", architecture_.name, rest); }
  int64_t get_int(std::string_view rest) const { return file_.get_int(key(rest)); }
  int64_t find_int(std::string_view rest, int64_t fallback) const { return file_.find_int(key(rest), fallback); }
  bool has(std::string_view rest) const { return file_.has(key(rest)); }

  // Some writers give one count per layer; this build runs models whose layers agree.
  int64_t get_equal_ints(std::string_view rest) const {
    const auto value = file_.metadata().find(key(rest));
    if (value == file_.metadata().end() || value->second.type != GgufType::kArray) return get_int(rest);
    const std::vector<int64_t> values = file_.get_ints(key(rest));
    for (const int64_t one : values) {
      if (one == values[0]) continue;
      fail(ErrorCode::kUnsupported, "{}: \"{}\" differs from layer to layer, which this build does not run",
           file_.name(), key(rest));
    }
    if (values.empty()) fail(ErrorCode::kCorrupt, "{}: \"{}\" is empty", file_.name(), key(rest));
    return values[0];
  }

  void sizes() {
    config_["model_type"] = architecture_.model_type;
    config_["architectures"] = json::array{architecture_.architecture};
    const TensorView& embedding = file_.get_tensor("token_embd.weight");
    config_["vocab_size"] = embedding.rows();
    config_["hidden_size"] = get_int("embedding_length");
    config_["num_hidden_layers"] = get_int("block_count");
    config_["max_position_embeddings"] = get_int("context_length");
    config_["rms_norm_eps"] = file_.get_double(key("attention.layer_norm_rms_epsilon"));
    config_["tie_word_embeddings"] = file_.find_tensor("output.weight") == nullptr;
    config_["intermediate_size"] = get_equal_ints("feed_forward_length");
  }

  void attention() {
    const int64_t heads = get_equal_ints("attention.head_count");
    const int64_t head_dim = find_int("attention.key_length", heads > 0 ? get_int("embedding_length") / heads : 0);
    const int64_t value_dim = find_int("attention.value_length", head_dim);
    if (value_dim != head_dim) {
      fail(ErrorCode::kUnsupported, "{}: heads have {} key and {} value elements; this build runs equal sizes",
           file_.name(), head_dim, value_dim);
    }
    config_["num_attention_heads"] = heads;
    config_["num_key_value_heads"] = has("attention.head_count_kv") ? get_equal_ints("attention.head_count_kv") : heads;
    config_["head_dim"] = head_dim;
    config_["attention_bias"] = file_.find_tensor("blk.0.attn_q.bias") != nullptr;
    config_["attention_output_bias"] = file_.find_tensor("blk.0.attn_output.bias") != nullptr;
    config_["mlp_bias"] = file_.find_tensor("blk.0.ffn_down.bias") != nullptr;
    if (const int64_t window = find_int("attention.sliding_window", 0); window > 0) config_["sliding_window"] = window;
  }

  void experts() {
    const int64_t num_experts = find_int("expert_count", 0);
    if (num_experts == 0) return;
    if (std::string_view(architecture_.name) == "llama") {
      config_["model_type"] = "mixtral";
      config_["architectures"] = json::array{"MixtralForCausalLM"};
    }
    config_["num_experts"] = num_experts;
    config_["num_local_experts"] = num_experts;
    config_["num_experts_per_tok"] = get_int("expert_used_count");
    config_["moe_intermediate_size"] = find_int("expert_feed_forward_length", get_int("feed_forward_length"));
    // Every qwen3moe file means it, whatever expert_weights_norm says.
    config_["norm_topk_prob"] = true;
  }

  void rope() {
    const double theta = file_.find_double(key("rope.freq_base"), 10000.0);
    const double head_dim = static_cast<double>(config_["head_dim"].as_int64());
    json::object rope{{"rope_type", "default"}};
    if (has("rope.dimension_count") && head_dim > 0) {
      config_["partial_rotary_factor"] = static_cast<double>(get_int("rope.dimension_count")) / head_dim;
    }
    config_["rope_theta"] = theta;
    const int64_t original = find_int("rope.scaling.original_context_length", 0);
    if (original > 0) config_["original_max_position_embeddings"] = original;

    std::string type(file_.find_string(key("rope.scaling.type"), "none"));
    const double factor = file_.find_double(key("rope.scaling.factor"), 1.0);
    if (file_.find_tensor("rope_freqs.weight") != nullptr) {
      // Llama 3's scaling, worked out by the writer: one divisor for every frequency, whatever the length.
      rope = {{"rope_type", "longrope"}, {"attention_factor", 1.0}};
      rope["short_factor"] = floats_of_tensor(file_, "rope_freqs.weight");
      rope["long_factor"] = rope["short_factor"];
    } else if (file_.find_tensor("rope_factors_long.weight") != nullptr) {
      rope = {{"rope_type", "longrope"}};
      rope["short_factor"] = floats_of_tensor(file_, "rope_factors_short.weight");
      rope["long_factor"] = floats_of_tensor(file_, "rope_factors_long.weight");
      if (has("rope.scaling.attn_factor")) rope["attention_factor"] = file_.get_double(key("rope.scaling.attn_factor"));
    } else if (type == "linear" && factor != 1.0) {
      rope = {{"rope_type", "linear"}, {"factor", factor}};
    } else if (type == "yarn") {
      rope = {{"rope_type", "yarn"}, {"factor", factor}};
      if (has("rope.scaling.attn_factor")) {
        const double own = file_.get_double(key("rope.scaling.attn_factor"));
        rope["attention_factor"] = own * (factor > 1 ? 0.1 * std::log(factor) + 1.0 : 1.0);
      }
      if (has("rope.scaling.yarn_beta_fast")) rope["beta_fast"] = file_.get_double(key("rope.scaling.yarn_beta_fast"));
      if (has("rope.scaling.yarn_beta_slow")) rope["beta_slow"] = file_.get_double(key("rope.scaling.yarn_beta_slow"));
    } else if (type != "none" && type != "linear" && type != "longrope") {
      rope["rope_type"] = type;  // refused by name when the model is built
    }
    config_["rope_scaling"] = std::move(rope);
  }

  void gemma() {
    config_["hidden_activation"] = "gelu_pytorch_tanh";
    // The first Gemma 2 files leave out what was the same for all of them.
    const bool is_gemma2 = std::string_view(architecture_.name) == "gemma2";
    config_["attn_logit_softcapping"] = file_.find_double(key("attn_logit_softcapping"), is_gemma2 ? 50.0 : 0.0);
    config_["final_logit_softcapping"] = file_.find_double(key("final_logit_softcapping"), is_gemma2 ? 30.0 : 0.0);
    if (is_gemma2 && !has("attention.sliding_window")) config_["sliding_window"] = 4096;
    config_["rope_local_base_freq"] = file_.find_double(key("rope.freq_base_swa"), 10000.0);
    // The files do not carry query_pre_attn_scalar. It is the head size, except in the two 27B models (46 and 62
    // layers), where it is hidden_size / heads.
    const int64_t layers = get_int("block_count");
    const bool is_27b = layers == (is_gemma2 ? 46 : 62);
    const int64_t heads = config_["num_attention_heads"].as_int64();
    config_["query_pre_attn_scalar"] =
        is_27b && heads > 0 ? get_int("embedding_length") / heads : config_["head_dim"].as_int64();
  }

  const GgufFile& file_;
  const GgufArchitecture& architecture_;
  json::object config_;
};

}  // namespace

const GgufArchitecture& gguf_architecture(const GgufFile& file) {
  const std::string_view found = file.get_string("general.architecture");
  std::string known;
  for (const GgufArchitecture& architecture : kArchitectures) {
    if (found == architecture.name) return architecture;
    known += known.empty() ? "" : ", ";
    known += architecture.name;
  }
  fail(ErrorCode::kUnsupported, "found architecture {} in {}; this build knows {}", printable(found), file.name(),
       known);
}

json::object gguf_config(const GgufFile& file, const GgufArchitecture& architecture) {
  return ConfigTranslation(file, architecture).run();
}

std::optional<TensorView> find_gguf_tensor(const GgufFile& file, const GgufArchitecture& architecture,
                                           std::string_view hf_name) {
  if (const auto name = translate(kModelNames, hf_name)) return as_optional(file.find_tensor(*name));
  std::string_view rest = hf_name;
  if (!take_prefix(rest, "model.layers.")) return std::nullopt;
  const auto layer = take_number(rest);
  if (!layer) return std::nullopt;
  auto name = architecture.is_gemma ? translate(kGemmaNormNames, rest) : translate(kPreNormNames, rest);
  if (!name) name = translate(kLayerNames, rest);
  if (name) return as_optional(file.find_tensor(fmt::format("blk.{}.{}", *layer, *name)));
  if (take_prefix(rest, "mlp.experts.") || take_prefix(rest, "block_sparse_moe.experts.")) {
    return find_expert(file, *layer, rest);
  }
  return std::nullopt;
}

}  // namespace quire
