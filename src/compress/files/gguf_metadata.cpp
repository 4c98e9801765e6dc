#include "compress/files/gguf_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/error.h"
#include "models/layers/rotary.h"
#include "models/loading/config.h"
#include "models/loading/gguf_config.h"

namespace quire {
namespace {

// What architectures read where config.json says nothing.
struct ConfigHabits {
  std::string_view architecture;  // config.json's
  double norm_eps = 1e-6;
  RopeDefaults rope = {};
};

constexpr ConfigHabits kHabits[] = {
    {.architecture = "MixtralForCausalLM", .norm_eps = 1e-5, .rope = {.theta = 1e6}},
    {.architecture = "Gemma3ForCausalLM", .rope = {.theta = 1e6, .layer_type = "full_attention"}},
    {.architecture = "Gemma3ForConditionalGeneration", .rope = {.theta = 1e6, .layer_type = "full_attention"}},
    {.architecture = "Phi3ForCausalLM", .norm_eps = 1e-5, .rope = {.yarn_is_longrope = true}},
};

// The windows that a file without a key for the pattern has.
bool has_usual_window(std::string_view gguf_name, size_t layer) {
  return gguf_name == "gemma2" ? layer % 2 == 0 : (layer + 1) % 6 != 0;
}

class MetadataTranslation {
 public:
  MetadataTranslation(const Checkpoint& source, const GgufArchitecture& architecture, const ModelInfo& info,
                      GgufWriter& out)
      : source_(source), config_(source.config()), architecture_(architecture), info_(info), out_(out) {
    const auto* const found = std::ranges::find(kHabits, with_head(info.architecture), &ConfigHabits::architecture);
    if (found != std::end(kHabits)) habits_ = *found;
  }

  GgufMetadata run() {
    const std::filesystem::path folder = source_.directory();
    out_.add_string("general.architecture", architecture_.name);
    out_.add_string("general.type", "model");
    out_.add_string("general.name", (folder.has_filename() ? folder : folder.parent_path()).filename().string());
    sizes();
    activation();
    windows();
    experts();
    rope(read_rope(config_, info_.head_dim, habits_.rope));
    if (is_gemma()) gemma();
    sampling();
    return std::move(result_);
  }

 private:
  std::string key(std::string_view rest) const { return fmt::format("{}.{}", architecture_.name, rest); }
  void number(std::string_view rest, int64_t value) { out_.add_uint32(key(rest), static_cast<uint32_t>(value)); }
  void real(std::string_view rest, double value) { out_.add_float(key(rest), static_cast<float>(value)); }
  bool is_gemma() const { return std::string_view(architecture_.name).starts_with("gemma"); }
  [[noreturn]] void refuse(std::string_view what) const {
    fail(ErrorCode::kUnsupported, "{}: {}, which GGUF's architecture {} has no key for", source_.name(), what,
         architecture_.name);
  }

  void sizes() {
    number("vocab_size", info_.vocab_size);
    number("context_length", find_int(config_, "max_position_embeddings", info_.max_context));
    number("embedding_length", info_.hidden_size);
    number("block_count", info_.num_layers);
    number("feed_forward_length", info_.intermediate_size);
    number("attention.head_count", info_.num_heads);
    number("attention.head_count_kv", info_.num_kv_heads);
    number("attention.key_length", info_.head_dim);
    number("attention.value_length", info_.head_dim);
    real("attention.layer_norm_rms_epsilon", find_double(config_, "rms_norm_eps", habits_.norm_eps));
  }

  void activation() const {
    const std::string found = find_string(config_, "hidden_activation", find_string(config_, "hidden_act", "silu"));
    const bool is_usual = is_gemma() ? found.starts_with("gelu_") : found == "silu" || found == "swish";
    if (!is_usual) refuse(fmt::format("the activation is {}", printable(found)));
  }

  void windows() {
    std::vector<bool> slides;
    int64_t window = 0;
    for (const LayerKv& layer : info_.kv_layers) {
      slides.push_back(layer.window > 0);
      window = std::max(window, layer.window);
    }
    if (window == 0) return;
    number("attention.sliding_window", window);
    if (!is_gemma()) {
      const bool is_read = info_.architecture == "Phi3ForCausalLM" || info_.num_experts > 0;
      if (is_read && std::ranges::find(slides, false) == slides.end()) return;
      result_.lost.push_back(fmt::format(
          "the sliding window of {} tokens: readers of GGUF's architecture {} attend to all tokens beyond it", window,
          architecture_.name));
      return;
    }
    const auto is_usual = [&](size_t layer) { return slides[layer] == has_usual_window(architecture_.name, layer); };
    bool all_usual = true;
    for (size_t i = 0; i < slides.size(); ++i) all_usual = all_usual && is_usual(i);
    if (all_usual) return;
    if (architecture_.name == std::string_view("gemma2")) refuse("the layers with a window are not every other one");
    std::vector<std::byte> flags;
    for (const bool slide : slides) flags.push_back(std::byte{slide});
    out_.add_value(
        key("attention.sliding_window_pattern"),
        GgufValue{.type = GgufType::kArray, .element_type = GgufType::kBool, .count = flags.size(), .bytes = flags});
  }

  void experts() {
    if (info_.num_experts == 0) return;
    number("expert_count", info_.num_experts);
    number("expert_used_count", info_.num_experts_per_token);
    if (architecture_.name != std::string_view("qwen3moe")) return;
    number("expert_feed_forward_length", get_int(config_, "moe_intermediate_size"));
    if (!find_bool(config_, "norm_topk_prob", false)) refuse("the weights of experts are not normalised");
    const json::array* dense = find_array(config_, "mlp_only_layers");
    if ((dense != nullptr && !dense->empty()) || find_int(config_, "decoder_sparse_step", 1) > 1) {
      refuse("some layers have no experts");
    }
  }

  void rope(const RopeSettings& rope) {
    number("rope.dimension_count", rope.dim);
    real("rope.freq_base", rope.theta);
    switch (rope.scaling) {
      case RopeScaling::kNone: return;
      case RopeScaling::kLinear: return scaling("linear", rope);
      case RopeScaling::kYarn: return yarn(rope);
      case RopeScaling::kLlama3: return llama3(rope);
      case RopeScaling::kLongRope: return longrope(rope);
      case RopeScaling::kDynamic: refuse("RoPE is scaled dynamically");
    }
  }

  void scaling(const char* type, const RopeSettings& rope) {
    out_.add_string(key("rope.scaling.type"), type);
    real("rope.scaling.factor", rope.factor);
    number("rope.scaling.original_context_length", rope.original_max_positions);
  }

  void yarn(const RopeSettings& rope) {
    if (!rope.truncate) refuse("YaRN's ramp has no whole dimensions as its bounds");
    scaling("yarn", rope);
    real("rope.scaling.yarn_beta_fast", rope.beta_fast);
    real("rope.scaling.yarn_beta_slow", rope.beta_slow);
    const double implied = rope.factor > 1 ? 0.1 * std::log(rope.factor) + 1.0 : 1.0;
    if (static_cast<float>(implied) != rope.attention_factor) {
      real("rope.scaling.attn_factor", rope.attention_factor / implied);
    }
  }

  // As divisors of the frequencies: what the scaling gives at any length.
  void llama3(const RopeSettings& rope) {
    RopeSettings plain = rope;
    plain.scaling = RopeScaling::kNone;
    const std::vector<float> scaled = rope_frequencies(rope, 1);
    std::vector<float> factors = rope_frequencies(plain, 1);
    for (size_t i = 0; i < factors.size(); ++i) factors[i] /= scaled[i];
    result_.tables.push_back({"rope_freqs.weight", std::move(factors)});
  }

  void longrope(const RopeSettings& rope) {
    number("rope.scaling.original_context_length", rope.original_max_positions);
    real("rope.scaling.attn_factor", rope.attention_factor);
    result_.tables.push_back({"rope_factors_short.weight", rope.short_factors});
    result_.tables.push_back({"rope_factors_long.weight", rope.long_factors});
  }

  void gemma() {
    const bool is_gemma2 = architecture_.name == std::string_view("gemma2");
    if (is_gemma2) {
      real("attn_logit_softcapping", read_optional_float(config_, "attn_logit_softcapping"));
      real("final_logit_softcapping", read_optional_float(config_, "final_logit_softcapping"));
    } else {
      const RopeSettings local = read_rope(
          config_, info_.head_dim,
          {.layer_type = "sliding_attention", .theta_key = "rope_local_base_freq", .use_rope_scaling = false});
      if (local.scaling != RopeScaling::kNone) refuse("the RoPE of layers with a window is scaled");
      if (local.theta != 10000.0) real("rope.freq_base_swa", local.theta);
      for (const char* cap : {"attn_logit_softcapping", "final_logit_softcapping"}) {
        if (read_optional_float(config_, cap) != 0.0f) real(cap, read_optional_float(config_, cap));
      }
    }
    const bool is_27b = info_.num_layers == (is_gemma2 ? 46 : 62);
    const int64_t implied = is_27b ? info_.hidden_size / info_.num_heads : info_.head_dim;
    const double scalar = find_double(config_, "query_pre_attn_scalar", 256.0);
    if (scalar != static_cast<double>(implied)) {
      refuse(fmt::format("\"query_pre_attn_scalar\" is {}, not the {} of its size", scalar, implied));
    }
  }

  void sampling() {
    const json::object* config = source_.generation_config();
    if (config == nullptr) return;
    std::set<std::string_view> known = {"bos_token_id", "eos_token_id", "pad_token_id", "transformers_version",
                                        "_from_model_config"};
    const bool is_greedy = !find_bool(*config, "do_sample", true);
    if (!is_greedy) known.insert("do_sample");
    for (const auto& [gguf_key, name, is_integer] : gguf_sampling_keys()) {
      if (find_member(*config, name) == nullptr || is_greedy) continue;
      known.insert(name);
      if (is_integer) {
        out_.add_int32(gguf_key, static_cast<int32_t>(get_int(*config, name)));
      } else {
        out_.add_float(gguf_key, static_cast<float>(get_double(*config, name)));
      }
    }
    for (const auto& [name, value] : *config) {
      if (!known.contains(name)) result_.lost.push_back("generation_config.json's \"" + printable(name) + "\"");
    }
  }

  const Checkpoint& source_;
  const json::object& config_;
  const GgufArchitecture& architecture_;
  const ModelInfo& info_;
  GgufWriter& out_;
  ConfigHabits habits_;
  GgufMetadata result_;
};

// llama.cpp's numbers.
constexpr std::pair<Format, uint32_t> kFileTypes[] = {{Format::kF32, 0},  {Format::kF16, 1},  {Format::kQ4_0, 2},
                                                      {Format::kQ4_1, 3}, {Format::kQ8_0, 7}, {Format::kQ5_0, 8},
                                                      {Format::kQ5_1, 9}, {Format::kBF16, 32}};

}  // namespace

GgufMetadata add_model_metadata(const Checkpoint& source, const GgufArchitecture& architecture, const ModelInfo& info,
                                GgufWriter& out) {
  return MetadataTranslation(source, architecture, info, out).run();
}

void add_vocabulary(const GgufVocabulary& vocabulary, GgufWriter& out) {
  const auto key = [](const char* rest) { return std::string("tokenizer.ggml.") + rest; };
  out.add_string(key("model"), vocabulary.model);
  out.add_string(key("pre"), vocabulary.pre);
  out.add_strings(key("tokens"), vocabulary.tokens);
  if (!vocabulary.scores.empty()) out.add_floats(key("scores"), vocabulary.scores);
  out.add_ints(key("token_type"), vocabulary.types);
  if (!vocabulary.merges.empty()) out.add_strings(key("merges"), vocabulary.merges);
  const auto id = [&](const char* rest, std::optional<int32_t> value) {
    if (value) out.add_uint32(key(rest), static_cast<uint32_t>(*value));
  };
  id("bos_token_id", vocabulary.bos_id);
  id("eos_token_id", vocabulary.eos_id);
  id("unknown_token_id", vocabulary.unk_id);
  id("padding_token_id", vocabulary.pad_id);
  id("eot_token_id", vocabulary.eot_id);
  const auto flag = [&](const char* rest, std::optional<bool> value) {
    if (value) out.add_bool(key(rest), *value);
  };
  flag("add_bos_token", vocabulary.add_bos);
  flag("add_eos_token", vocabulary.add_eos);
  flag("add_space_prefix", vocabulary.add_space_prefix);
  if (vocabulary.chat_template) out.add_string("tokenizer.chat_template", *vocabulary.chat_template);
}

void copy_metadata(const GgufFile& source, GgufWriter& out) {
  for (const auto& [key, value] : source.metadata()) {
    const bool is_storage = key == "general.file_type" || key == "general.quantization_version" ||
                            key == "general.alignment" || key.starts_with("split.");
    if (!is_storage) out.add_value(key, value);
  }
}

void add_file_type(Format format, GgufWriter& out) {
  const auto* const found = std::ranges::find(kFileTypes, format, &std::pair<Format, uint32_t>::first);
  if (found != std::end(kFileTypes)) out.add_uint32("general.file_type", found->second);
  out.add_uint32("general.quantization_version", 2);
}

}  // namespace quire
