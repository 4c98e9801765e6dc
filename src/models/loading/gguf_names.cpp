#include "models/loading/gguf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "models/loading/gguf_config.h"

namespace quire {
namespace {

constexpr NamePair kModelNames[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

// Of a layer with one norm before each block.
constexpr NamePair kPreNormNames[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"post_attention_layernorm.weight", "ffn_norm.weight"},
};
// Of a layer with a norm before and after each block, as Gemma's are called.
constexpr NamePair kGemmaNormNames[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"post_attention_layernorm.weight", "post_attention_norm.weight"},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight"},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight"},
};

constexpr std::string_view kLlamaKin[] = {"MistralForCausalLM", "MixtralForCausalLM"};
constexpr std::string_view kGemma3Kin[] = {"Gemma3ForConditionalGeneration"};

constexpr GgufArchitecture kArchitectures[] = {
    {.name = "llama",
     .model_type = "llama",
     .architecture = "LlamaForCausalLM",
     .norm_names = kPreNormNames,
     .rope_is_interleaved = true,
     .also = kLlamaKin},
    {.name = "qwen2", .model_type = "qwen2", .architecture = "Qwen2ForCausalLM", .norm_names = kPreNormNames},
    {.name = "qwen3", .model_type = "qwen3", .architecture = "Qwen3ForCausalLM", .norm_names = kPreNormNames},
    {.name = "qwen3moe", .model_type = "qwen3_moe", .architecture = "Qwen3MoeForCausalLM", .norm_names = kPreNormNames},
    {.name = "gemma2",
     .model_type = "gemma2",
     .architecture = "Gemma2ForCausalLM",
     .norm_names = kGemmaNormNames,
     .norms_include_one = true,
     .add_missing_keys = add_missing_gemma2_keys},
    {.name = "gemma3",
     .model_type = "gemma3_text",
     .architecture = "Gemma3ForCausalLM",
     .norm_names = kGemmaNormNames,
     .norms_include_one = true,
     .add_missing_keys = add_missing_gemma3_keys,
     .also = kGemma3Kin},
    {.name = "phi3", .model_type = "phi3", .architecture = "Phi3ForCausalLM", .norm_names = kPreNormNames},
};

// What follows "model.layers.<n>." and "blk.<n>.".
constexpr NamePair kLayerNames[] = {
    {"self_attn.q_proj.weight", "attn_q.weight"},      {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},      {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_proj.bias", "attn_q.bias"},          {"self_attn.k_proj.bias", "attn_k.bias"},
    {"self_attn.v_proj.bias", "attn_v.bias"},          {"self_attn.o_proj.bias", "attn_output.bias"},
    {"self_attn.qkv_proj.weight", "attn_qkv.weight"},  {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"}, {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},           {"mlp.down_proj.weight", "ffn_down.weight"},
    {"mlp.gate_proj.bias", "ffn_gate.bias"},           {"mlp.up_proj.bias", "ffn_up.bias"},
    {"mlp.down_proj.bias", "ffn_down.bias"},           {"mlp.gate_up_proj.weight", "ffn_up.weight"},
    {"mlp.gate.weight", "ffn_gate_inp.weight"},        {"block_sparse_moe.gate.weight", "ffn_gate_inp.weight"},
};
// What follows "mlp.experts.<e>." or "block_sparse_moe.experts.<e>.", and the middle of "ffn_<x>_exps.weight" (all
// experts in one tensor) and of "ffn_<x>.<e>.weight" (Mixtral's first files).
constexpr NamePair kExpertNames[] = {
    {"gate_proj.weight", "gate"}, {"up_proj.weight", "up"}, {"down_proj.weight", "down"},
    {"w1.weight", "gate"},        {"w3.weight", "up"},      {"w2.weight", "down"},
};

std::optional<std::string_view> translate(std::span<const NamePair> names, std::string_view hf) {
  for (const NamePair& pair : names) {
    if (pair.hf == hf) return pair.gguf;
  }
  return std::nullopt;
}

// Removes "<number>." from the front.
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

// A matrix in NVFP4 has its scale in a tensor beside it: "<matrix>.scale" beside "<matrix>.weight".
constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kScale = ".scale";
constexpr std::string_view kExperts = "_exps.weight";

std::string with_end(std::string_view name, std::string_view end, std::string_view other) {
  return std::string(name.substr(0, name.size() - end.size())) + std::string(other);
}

// `stack` is "blk.<n>.ffn_<x>_exps.weight"; end: kWeight or kScale.
std::optional<TensorView> find_expert(const GgufFile& file, std::string_view stack, int64_t expert,
                                      std::string_view end) {
  const TensorView* all = file.find_tensor(with_end(stack, kWeight, end));
  if (all == nullptr) {
    const std::string of_one = fmt::format(".{}{}", expert, end);
    return as_optional(file.find_tensor(with_end(stack, kExperts, of_one)));
  }
  const int rank = all->rank - 1;
  if (rank != (end == kWeight ? 2 : 0) || expert >= all->shape[0]) return std::nullopt;
  TensorView view = *all;
  view.rank = rank;
  std::copy_n(all->shape.begin() + 1, rank, view.shape.begin());
  view.size_bytes = weight_format(view.format).bytes_of(view.num_elements());
  view.data = all->data + static_cast<size_t>(expert) * view.size_bytes;
  return view;
}

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

const GgufArchitecture* find_gguf_architecture(std::string_view hf_architecture) {
  const auto keeps = [&](const GgufArchitecture& row) {
    return row.architecture == hf_architecture || std::ranges::find(row.also, hf_architecture) != row.also.end();
  };
  const auto* const found = std::ranges::find_if(kArchitectures, keeps);
  return found == std::end(kArchitectures) ? nullptr : found;
}

std::optional<GgufPlace> gguf_place(const GgufArchitecture& architecture, std::string_view hf_name) {
  if (const auto name = translate(kModelNames, hf_name)) return GgufPlace{std::string(*name)};
  std::string_view rest = hf_name;
  if (!take_prefix(rest, "model.layers.")) return std::nullopt;
  const auto layer = take_number(rest);
  if (!layer) return std::nullopt;
  auto name = translate(architecture.norm_names, rest);
  if (!name) name = translate(kLayerNames, rest);
  if (name) return GgufPlace{fmt::format("blk.{}.{}", *layer, *name)};
  if (!take_prefix(rest, "mlp.experts.") && !take_prefix(rest, "block_sparse_moe.experts.")) return std::nullopt;
  const auto expert = take_number(rest);
  const auto part = translate(kExpertNames, rest);
  if (!expert || !part) return std::nullopt;
  return GgufPlace{fmt::format("blk.{}.ffn_{}{}", *layer, *part, kExperts), expert};
}

std::optional<TensorView> find_gguf_tensor(const GgufFile& file, const GgufArchitecture& architecture,
                                           std::string_view hf_name) {
  const std::string_view end = hf_name.ends_with(kScale) ? kScale : kWeight;
  const std::string weight = end == kScale ? with_end(hf_name, kScale, kWeight) : std::string(hf_name);
  const auto place = gguf_place(architecture, weight);
  if (!place) return std::nullopt;
  if (place->expert) return find_expert(file, place->name, *place->expert, end);
  return as_optional(file.find_tensor(end == kScale ? with_end(place->name, kWeight, kScale) : place->name));
}

}  // namespace quire
