#include "models/loading/config.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/loading/embedding_use.h"
#include "models/loading/refused_keys.h"

namespace quire {
namespace {

// Far above any model, low enough that products of three fit 64 bits.
constexpr int64_t kMaxSize = int64_t{1} << 20;
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxContext = int64_t{1} << 27;

int64_t read_size_or(const json::object& config, std::string_view key, int64_t fallback, int64_t limit = kMaxSize) {
  const int64_t size = fallback > 0 ? find_int(config, key, fallback) : get_int(config, key);
  if (size <= 0 || size > limit) {
    fail(ErrorCode::kCorrupt, "\"{}\" is {}, expected 1 to {}", key, size, limit);
  }
  return size;
}

Activation read_activation(const json::object& config) {
  const std::string name = find_string(config, "hidden_activation", find_string(config, "hidden_act", "silu"));
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") return Activation::kGeluTanh;
  if (name == "gelu") return Activation::kGelu;
  fail(ErrorCode::kUnsupported, "activation \"{}\" is unknown; this build knows silu, gelu, gelu_pytorch_tanh",
       printable(name));
}

std::string architecture_name(const json::object& config) {
  const json::array* names = find_array(config, "architectures");
  if (names != nullptr && !names->empty() && names->at(0).is_string()) return std::string(names->at(0).get_string());
  return find_string(config, "model_type", "");
}

double positive(std::string_view key, double value) {
  if (!(value > 0) || !std::isfinite(value))
    fail(ErrorCode::kCorrupt, "\"{}\" is {}, expected more than 0", key, value);
  return value;
}

std::vector<float> read_factors(const json::object& params, std::string_view key, int count) {
  const json::array* values = find_array(params, key);
  if (values == nullptr || values->size() != static_cast<size_t>(count)) {
    fail(ErrorCode::kCorrupt, "RoPE \"{}\" has {} factors, expected {} (half of the rotated dimensions)", key,
         values == nullptr ? 0 : values->size(), count);
  }
  std::vector<float> factors;
  for (const json::value& value : *values) {
    const double factor = value.is_number() ? value.to_number<double>() : 0.0;
    factors.push_back(static_cast<float>(positive(key, factor)));
  }
  return factors;
}

double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

void read_yarn(const json::object& params, RopeSettings& rope) {
  rope.beta_fast = positive("beta_fast", find_double(params, "beta_fast", 32.0));
  rope.beta_slow = positive("beta_slow", find_double(params, "beta_slow", 1.0));
  rope.truncate = find_bool(params, "truncate", true);
  const double mscale = find_double(params, "mscale", 0.0);
  const double mscale_all = find_double(params, "mscale_all_dim", 0.0);
  const double implied = mscale != 0 && mscale_all != 0
                             ? yarn_scale(rope.factor, mscale) / yarn_scale(rope.factor, mscale_all)
                             : yarn_scale(rope.factor, 1.0);
  rope.attention_factor = static_cast<float>(find_double(params, "attention_factor", implied));
}

void read_longrope(const json::object& params, RopeSettings& rope) {
  rope.short_factors = read_factors(params, "short_factor", rope.dim / 2);
  rope.long_factors = read_factors(params, "long_factor", rope.dim / 2);
  const double implied =
      rope.factor <= 1
          ? 1.0
          : std::sqrt(1 + std::log(rope.factor) / std::log(static_cast<double>(rope.original_max_positions)));
  rope.attention_factor = static_cast<float>(find_double(params, "attention_factor", implied));
}

RopeScaling scaling_by_name(std::string_view type, bool yarn_is_longrope) {
  if (type == "default" || type == "none") return RopeScaling::kNone;
  if (type == "linear") return RopeScaling::kLinear;
  if (type == "dynamic") return RopeScaling::kDynamic;
  if (type == "llama3") return RopeScaling::kLlama3;
  if (type == "longrope" || type == "su" || (type == "yarn" && yarn_is_longrope)) return RopeScaling::kLongRope;
  if (type == "yarn") return RopeScaling::kYarn;
  fail(ErrorCode::kUnsupported,
       "RoPE type \"{}\" is unknown; this build knows default, linear, dynamic, llama3, yarn, "
       "longrope",
       printable(type));
}

// Positions that the model is made for. Linear, dynamic and YaRN scaling multiply those of the first training, which
// are max_position_embeddings unless the file names them apart.
int64_t scaled_context(const json::object& config, int64_t max_positions) {
  const json::object* params = find_object(config, "rope_parameters");
  if (params == nullptr) params = find_object(config, "rope_scaling");
  if (params == nullptr) return max_positions;
  const std::string type = find_string(*params, "rope_type", find_string(*params, "type", "default"));
  if (type != "linear" && type != "dynamic" && type != "yarn") return max_positions;
  int64_t original = find_int(*params, "original_max_position_embeddings", max_positions);
  original = find_int(config, "original_max_position_embeddings", original);
  const double scaled = find_double(*params, "factor", 1.0) * static_cast<double>(original);
  // A factor that cannot be is refused by read_rope.
  if (!(scaled > static_cast<double>(max_positions))) return max_positions;
  return std::llround(std::min(scaled, static_cast<double>(kMaxContext)));
}

}  // namespace

DecoderConfig read_decoder_config(const Checkpoint& checkpoint, const ConfigDefaults& defaults) {
  check_refused_keys(checkpoint);
  const json::object& config = checkpoint.config();
  DecoderConfig result;
  ModelInfo& info = result.info;
  info.architecture = architecture_name(config);
  info.vocab_size = read_size_or(config, "vocab_size", 0, kMaxVocab);
  info.hidden_size = read_size_or(config, "hidden_size", 0);
  info.intermediate_size = read_size_or(config, "intermediate_size", 0);
  info.num_layers = static_cast<int>(read_size_or(config, "num_hidden_layers", 0, 4096));
  info.num_heads = static_cast<int>(read_size_or(config, "num_attention_heads", 0, 4096));
  info.num_kv_heads = static_cast<int>(read_size_or(config, "num_key_value_heads", info.num_heads, 4096));
  const int64_t head_dim = defaults.head_dim > 0 ? defaults.head_dim : info.hidden_size / info.num_heads;
  info.head_dim = static_cast<int>(read_size_or(config, "head_dim", head_dim, 4096));
  if (info.head_dim > kMaxHeadDim) {
    fail(ErrorCode::kUnsupported, "{}: found attention heads of {} dimensions; this build knows up to {}",
         checkpoint.name(), info.head_dim, kMaxHeadDim);
  }
  info.max_context = read_size_or(config, "max_position_embeddings", 0, kMaxContext);
  if (!defaults.context_is_scaled) info.max_context = scaled_context(config, info.max_context);
  result.windows.assign(static_cast<size_t>(info.num_layers), 0);
  info.tied_embeddings = find_bool(config, "tie_word_embeddings", defaults.tied_embeddings);
  info.embedding = read_embedding_use(checkpoint);
  if (info.num_heads % info.num_kv_heads != 0) {
    fail(ErrorCode::kCorrupt, "{}: {} attention heads are not a multiple of {} KV heads", checkpoint.name(),
         info.num_heads, info.num_kv_heads);
  }
  result.norm_eps = static_cast<float>(find_double(config, "rms_norm_eps", defaults.norm_eps));
  result.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(info.head_dim)));
  result.activation = read_activation(config);
  result.rope_interleaved = checkpoint.rope_is_interleaved();
  return result;
}

RopeSettings read_rope(const json::object& config, int head_dim, const RopeDefaults& defaults) {
  static const json::object kNothing;
  const json::object* params = find_object(config, "rope_parameters");
  if (params != nullptr && !defaults.layer_type.empty() && params->contains(defaults.layer_type)) {
    params = find_object(*params, defaults.layer_type);
  }
  const bool is_new_spelling = params != nullptr;
  if (params == nullptr && defaults.use_rope_scaling) params = find_object(config, "rope_scaling");
  if (params == nullptr) params = &kNothing;

  RopeSettings rope;
  const double theta = find_double(config, is_new_spelling ? "rope_theta" : defaults.theta_key, defaults.theta);
  rope.theta = positive("rope_theta", find_double(*params, "rope_theta", theta));
  rope.scaling = scaling_by_name(find_string(*params, "rope_type", find_string(*params, "type", "default")),
                                 defaults.yarn_is_longrope);
  const double part = find_double(*params, "partial_rotary_factor", find_double(config, "partial_rotary_factor", 1.0));
  // The part may be a rounded quotient of whole numbers.
  rope.dim = part > 0 && part <= 1 ? static_cast<int>(head_dim * part + 1e-6) : 0;
  if (rope.dim < 2 || rope.dim > head_dim || rope.dim % 2 != 0) {
    fail(ErrorCode::kCorrupt, "RoPE rotates {} of {} elements of a head, expected an even part of them", rope.dim,
         head_dim);
  }
  if (rope.scaling == RopeScaling::kNone) return rope;

  rope.max_positions = read_size_or(config, "max_position_embeddings", 0, kMaxContext);
  const int64_t original = find_int(*params, "original_max_position_embeddings", rope.max_positions);
  rope.original_max_positions = read_size_or(config, "original_max_position_embeddings", original, kMaxContext);
  const double ratio = static_cast<double>(rope.max_positions) / static_cast<double>(rope.original_max_positions);
  const bool has_ratio = rope.scaling == RopeScaling::kYarn || rope.scaling == RopeScaling::kLongRope;
  rope.factor = positive("factor", has_ratio ? find_double(*params, "factor", ratio) : get_double(*params, "factor"));
  if (rope.scaling == RopeScaling::kDynamic && rope.dim < 4) {
    fail(ErrorCode::kCorrupt, "dynamic RoPE rotates {} elements of a head, expected 4 or more", rope.dim);
  }
  if (rope.scaling == RopeScaling::kLlama3) {
    rope.low_freq_factor = positive("low_freq_factor", get_double(*params, "low_freq_factor"));
    rope.high_freq_factor = positive("high_freq_factor", get_double(*params, "high_freq_factor"));
  }
  if (rope.scaling == RopeScaling::kYarn) read_yarn(*params, rope);
  if (rope.scaling == RopeScaling::kLongRope) read_longrope(*params, rope);
  return rope;
}

int64_t read_window(const json::object& config) {
  const int64_t window = find_int(config, "sliding_window", 0);
  if (window < 0 || window > kMaxContext) {
    fail(ErrorCode::kCorrupt, "\"sliding_window\" is {}, expected 1 to {}", window, kMaxContext);
  }
  return window;
}

std::vector<int64_t> layer_windows(const json::object& config, int num_layers, int64_t window,
                                   const std::function<bool(int layer)>& slides) {
  std::vector<int64_t> windows;
  const json::array* types = find_array(config, "layer_types");
  if (types != nullptr && types->size() != static_cast<size_t>(num_layers)) {
    fail(ErrorCode::kCorrupt, "\"layer_types\" has {} entries for {} layers", types->size(), num_layers);
  }
  for (int layer = 0; layer < num_layers; ++layer) {
    bool is_sliding = types == nullptr && slides(layer);
    if (types != nullptr) {
      const json::value& type = types->at(static_cast<size_t>(layer));
      is_sliding = type == "sliding_attention";
      if (!is_sliding && type != "full_attention") {
        fail(ErrorCode::kUnsupported, "layer type {} is unknown; this build knows full_attention, sliding_attention",
             printable(json::serialize(type), 60));
      }
    }
    windows.push_back(is_sliding ? window : 0);
  }
  return windows;
}

std::vector<int64_t> qwen_windows(const json::object& config, int num_layers) {
  const int64_t window = find_bool(config, "use_sliding_window", false) ? read_window(config) : 0;
  const int64_t first_sliding = find_int(config, "max_window_layers", 28);
  return layer_windows(config, num_layers, window, [&](int layer) { return layer >= first_sliding; });
}

Routing read_router(const json::object& config, std::string_view experts_key, int num_experts, int experts_per_token) {
  Routing router;
  router.num_experts = static_cast<int>(read_size_or(config, experts_key, num_experts, 4096));
  router.per_row = static_cast<int>(read_size_or(config, "num_experts_per_tok", experts_per_token, router.num_experts));
  return router;
}

bool is_headless(std::string_view architecture) { return architecture.ends_with("Model"); }

std::string with_head(std::string_view architecture) {
  if (!is_headless(architecture)) return std::string(architecture);
  return std::string(architecture.substr(0, architecture.size() - std::string_view("Model").size())) + "ForCausalLM";
}

int64_t read_size(const json::object& config, std::string_view key) { return read_size_or(config, key, 0); }

float read_optional_float(const json::object& config, std::string_view key) {
  return static_cast<float>(find_double(config, key, 0.0));
}

}  // namespace quire
