#include "models/loading/gguf_config.h"

#include <fmt/format.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "models/loading/gguf_names.h"

namespace quire {
namespace {

// Divisors of frequencies, `scale` times those of the tensor.
json::array factors_of_tensor(const GgufFile& file, std::string_view name, double scale) {
  const TensorView& view = file.get_tensor(name);
  constexpr int64_t kMaxFactors = 1 << 16;
  if (view.num_elements() > kMaxFactors) {
    fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" has {} elements, expected at most {}", file.name(), name,
         view.num_elements(), kMaxFactors);
  }
  std::vector<float> values(static_cast<size_t>(view.num_elements()));
  dequantize(view, values);
  for (float& value : values) value *= static_cast<float>(scale);
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
    if (architecture_.add_missing_keys != nullptr) architecture_.add_missing_keys(file_, config_);
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
    // True for every qwen3moe file, whatever expert_weights_norm says.
    config_["norm_topk_prob"] = true;
  }

  // Files that name no type of scaling mean linear; the oldest have its factor under another name. 0 is none.
  double scaling_factor() const {
    const double factor =
        file_.find_double(key(has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear"), 1.0);
    return factor == 0 ? 1.0 : factor;
  }

  void rope() {
    const double head_dim = static_cast<double>(config_["head_dim"].as_int64());
    if (has("rope.dimension_count") && head_dim > 0) {
      config_["partial_rotary_factor"] = static_cast<double>(get_int("rope.dimension_count")) / head_dim;
    }
    config_["rope_theta"] = file_.find_double(key("rope.freq_base"), 10000.0);
    const int64_t original = find_int("rope.scaling.original_context_length", 0);
    if (original > 0) config_["original_max_position_embeddings"] = original;
    config_["rope_scaling"] = rope_scaling();
  }

  json::object rope_scaling() const {
    std::string type(file_.find_string(key("rope.scaling.type"), "linear"));
    const double factor = scaling_factor();
    if (type == "none" || ((type == "linear" || type == "longrope") && factor == 1.0)) type = "default";
    if (type == "longrope") type = "linear";  // beside the factors of its tensors, if there are any
    const bool has_one_list = file_.find_tensor("rope_freqs.weight") != nullptr;
    if (has_one_list || file_.find_tensor("rope_factors_long.weight") != nullptr) {
      if (type != "default" && type != "linear") {
        fail(ErrorCode::kUnsupported, "{}: found RoPE type {} beside a tensor of RoPE factors; expected one of them",
             file_.name(), printable(type));
      }
      return factor_lists(has_one_list, type == "linear" ? factor : 1.0);
    }
    if (type == "linear") return {{"rope_type", "linear"}, {"factor", factor}};
    if (type == "yarn") return yarn(factor);
    return {{"rope_type", type}};  // refused by name when the model is built
  }

  json::object factor_lists(bool has_one_list, double scale) const {
    json::object rope{{"rope_type", "longrope"}};
    if (has_one_list) {
      // Llama 3's scaling, computed by the writer: one divisor for every frequency, at any length.
      rope["attention_factor"] = 1.0;
      rope["short_factor"] = factors_of_tensor(file_, "rope_freqs.weight", scale);
      rope["long_factor"] = rope["short_factor"];
      return rope;
    }
    rope["short_factor"] = factors_of_tensor(file_, "rope_factors_short.weight", scale);
    rope["long_factor"] = factors_of_tensor(file_, "rope_factors_long.weight", scale);
    if (has("rope.scaling.attn_factor")) rope["attention_factor"] = file_.get_double(key("rope.scaling.attn_factor"));
    return rope;
  }

  json::object yarn(double factor) const {
    json::object rope{{"rope_type", "yarn"}, {"factor", factor}};
    if (has("rope.scaling.attn_factor")) {
      const double own = file_.get_double(key("rope.scaling.attn_factor"));
      rope["attention_factor"] = own * (factor > 1 ? 0.1 * std::log(factor) + 1.0 : 1.0);
    }
    if (has("rope.scaling.yarn_beta_fast")) rope["beta_fast"] = file_.get_double(key("rope.scaling.yarn_beta_fast"));
    if (has("rope.scaling.yarn_beta_slow")) rope["beta_slow"] = file_.get_double(key("rope.scaling.yarn_beta_slow"));
    return rope;
  }

  const GgufFile& file_;
  const GgufArchitecture& architecture_;
  json::object config_;
};

// Keys that Gemma's files lack because all models of a generation had the same values when the first files were
// written.
struct GemmaDefaults {
  const char* name;  // general.architecture
  double attention_softcap;
  double final_softcap;
  int64_t window;  // 0 = the file says it
  int64_t layers_of_27b;
};

void add_gemma_keys(const GgufFile& file, const GemmaDefaults& defaults, json::object& config) {
  const auto key = [&](const char* rest) { return fmt::format("{}.{}", defaults.name, rest); };
  config["hidden_activation"] = "gelu_pytorch_tanh";
  config["attn_logit_softcapping"] = file.find_double(key("attn_logit_softcapping"), defaults.attention_softcap);
  config["final_logit_softcapping"] = file.find_double(key("final_logit_softcapping"), defaults.final_softcap);
  if (defaults.window > 0 && !file.has(key("attention.sliding_window"))) config["sliding_window"] = defaults.window;
  config["rope_local_base_freq"] = file.find_double(key("rope.freq_base_swa"), 10000.0);
  // query_pre_attn_scalar is the head size, except in the 27B models, where it is hidden_size / heads.
  const int64_t heads = config["num_attention_heads"].as_int64();
  const bool is_27b = config["num_hidden_layers"].as_int64() == defaults.layers_of_27b;
  config["query_pre_attn_scalar"] =
      is_27b && heads > 0 ? config["hidden_size"].as_int64() / heads : config["head_dim"].as_int64();
}

}  // namespace

void add_missing_gemma2_keys(const GgufFile& file, json::object& config) {
  add_gemma_keys(
      file, {.name = "gemma2", .attention_softcap = 50.0, .final_softcap = 30.0, .window = 4096, .layers_of_27b = 46},
      config);
}

void add_missing_gemma3_keys(const GgufFile& file, json::object& config) {
  // Every so many layers one sees everything; or whether each has a window.
  constexpr const char* kPattern = "gemma3.attention.sliding_window_pattern";
  if (const GgufValue* pattern = file.find(kPattern); pattern != nullptr && pattern->type == GgufType::kArray) {
    if (pattern->element_type != GgufType::kBool)
      fail(ErrorCode::kCorrupt, "{}: \"{}\" is no list of booleans", file.name(), kPattern);
    json::array types;
    for (const std::byte slides : pattern->bytes) {
      types.push_back(slides == std::byte{0} ? "full_attention" : "sliding_attention");
    }
    config["layer_types"] = std::move(types);
  } else if (pattern != nullptr) {
    config["sliding_window_pattern"] = file.get_int(kPattern);
  }
  add_gemma_keys(file,
                 {.name = "gemma3", .attention_softcap = 0.0, .final_softcap = 0.0, .window = 0, .layers_of_27b = 62},
                 config);
}

std::span<const GgufSamplingKey> gguf_sampling_keys() {
  static constexpr GgufSamplingKey kKeys[] = {{"general.sampling.temp", "temperature"},
                                              {"general.sampling.top_k", "top_k", true},
                                              {"general.sampling.top_p", "top_p"},
                                              {"general.sampling.min_p", "min_p"},
                                              {"general.sampling.penalty_repeat", "repetition_penalty"}};
  return kKeys;
}

json::object gguf_generation_config(const GgufFile& file) {
  json::object config;
  for (const auto& [key, name, is_integer] : gguf_sampling_keys()) {
    if (!file.has(key)) continue;
    if (is_integer) {
      config[name] = file.get_int(key);
    } else {
      config[name] = file.get_double(key);
    }
  }
  return config;
}

json::object gguf_config(const GgufFile& file, const GgufArchitecture& architecture) {
  return ConfigTranslation(file, architecture).run();
}

}  // namespace quire
