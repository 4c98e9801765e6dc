// Reads config.json into the sizes that layers/ need: the keys that every decoder shares, RoPE in its old and new
// spelling, windows per layer. Every value is checked before anything is computed from it.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "models/layers/attention.h"
#include "models/layers/moe.h"
#include "models/layers/rotary.h"
#include "models/loading/checkpoint.h"
#include "models/model.h"

namespace quire {

// Defaults of an architecture, for keys that the file lacks.
struct ConfigDefaults {
  double norm_eps = 1e-6;
  int head_dim = 0;  // 0 = hidden_size / num_attention_heads
  bool tied_embeddings = false;
  bool context_is_scaled = false;  // max_position_embeddings counts what RoPE scaling makes possible
};

// A decoder's description without its weights. read_decoder_config fills in what every configuration has; the rest
// keeps its defaults until the architecture sets it.
struct DecoderConfig {
  ModelInfo info;  // sizes; no layers yet
  float norm_eps = 0.0f;
  float norm_offset = 0.0f;        // added to the weights of every norm
  float attention_scale = 0.0f;    // head_dim ^ -0.5
  float attention_softcap = 0.0f;  // 0 = none
  Activation activation = Activation::kSilu;
  bool rope_interleaved = false;
  std::vector<RopeSettings> ropes;  // the distinct ones; Attention::rope is an index
  Routing routing;                  // of mixtures of experts
  float embedding_scale = 1.0f;
  float logit_softcap = 0.0f;  // 0 = none

  std::vector<int64_t> windows;  // of every layer; 0 = full attention, the default until the architecture sets it

  AttentionSizes attention_sizes() const {
    return {info.hidden_size, info.num_heads, info.num_kv_heads, info.head_dim};
  }
};

// Throws Error kCorrupt for impossible sizes, kUnsupported for an unknown activation.
DecoderConfig read_decoder_config(const Checkpoint& checkpoint, const ConfigDefaults& defaults = {});

// Rotary settings: `rope_parameters` (of `layer_type`, where they are given per type), or rope_theta and rope_scaling.
struct RopeDefaults {
  double theta = 10000.0;
  std::string_view layer_type = {};           // "full_attention"; empty = one setting for all layers
  std::string_view theta_key = "rope_theta";  // the old spelling's key
  bool use_rope_scaling = true;               // whether the old spelling's rope_scaling applies
  bool yarn_is_longrope = false;              // Phi-3's first files call LongRoPE "yarn" or "su"
};
RopeSettings read_rope(const json::object& config, int head_dim, const RopeDefaults& defaults = {});

// `sliding_window`: 0 when absent or null.
int64_t read_window(const json::object& config);
// The window of each layer: `window` where `layer_types` says "sliding_attention" or, without that list, slides(layer).
std::vector<int64_t> layer_windows(const json::object& config, int num_layers, int64_t window,
                                   const std::function<bool(int layer)>& slides);

// Qwen 2 and 3: a window from layer `max_window_layers` on, when `use_sliding_window` says so.
std::vector<int64_t> qwen_windows(const json::object& config, int num_layers);

// Router of a mixture of experts: `experts_key` and num_experts_per_tok, checked against each other.
Routing read_router(const json::object& config, std::string_view experts_key, int num_experts, int experts_per_token);

// Whether Hugging Face's class of this name is a decoder alone, "LlamaModel", as files for embeddings name it: it may
// come without an output matrix.
bool is_headless(std::string_view architecture);
// Its class with a head, "LlamaForCausalLM"; any other name as it is.
std::string with_head(std::string_view architecture);

// A required size.
int64_t read_size(const json::object& config, std::string_view key);
// A float that may be null or absent (softcaps).
float read_optional_float(const json::object& config, std::string_view key);

}  // namespace quire
