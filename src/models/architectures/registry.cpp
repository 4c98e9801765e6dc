#include "models/architectures/registry.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "models/loading/config.h"

namespace quire {
namespace {

constexpr RegistryEntry kRegistry[] = {
    {"LlamaForCausalLM", "llama", make_llama},
    {"MistralForCausalLM", "mistral", make_mistral},
    {"MixtralForCausalLM", "mixtral", make_mixtral},
    {"Qwen2ForCausalLM", "qwen2", make_qwen2},
    {"Qwen3ForCausalLM", "qwen3", make_qwen3},
    {"Qwen3MoeForCausalLM", "qwen3_moe", make_qwen3_moe},
    {"Gemma2ForCausalLM", "gemma2", make_gemma2},
    {"Gemma3ForCausalLM", "gemma3_text", make_gemma3},
    {"Gemma3ForConditionalGeneration", "gemma3", make_gemma3},  // its text half
    {"Phi3ForCausalLM", "phi3", make_phi3},
};

constexpr RegistryEntry kParts[] = {
    {"medusa", "", make_medusa},
    {"eagle", "", make_eagle},
    {"eagle3", "", make_eagle3},
};

const RegistryEntry& find_part(std::string_view name) {
  const auto* const found = std::ranges::find(kParts, name, &RegistryEntry::architecture);
  CHECK(found != std::end(kParts));
  return *found;
}

const RegistryEntry& find_entry(const Checkpoint& checkpoint) {
  if (!checkpoint.part().empty()) return find_part(checkpoint.part());
  const json::object& config = checkpoint.config();
  const json::array* names = find_array(config, "architectures");
  const bool named = names != nullptr && !names->empty() && names->at(0).is_string();
  const std::string found =
      named ? std::string(names->at(0).get_string()) : find_string(config, "model_type", "(none)");
  std::string known;
  for (const RegistryEntry& entry : kRegistry) {
    if (with_head(found) == (named ? entry.architecture : entry.model_type)) return entry;
    known += known.empty() ? "" : ", ";
    known += named ? entry.architecture : entry.model_type;
  }
  fail(ErrorCode::kUnsupported, "found architecture {} in {}; this build knows {}", printable(found), checkpoint.name(),
       known);
}

}  // namespace

std::span<const RegistryEntry> model_registry() { return kRegistry; }

std::unique_ptr<Model> make_model(const Checkpoint& checkpoint, WeightLoader& loader) {
  const RegistryEntry& entry = find_entry(checkpoint);
  try {
    return entry.make(checkpoint, loader);
  } catch (const Error& error) {
    // The configuration's getters name only the key; this adds the file.
    const std::string_view message = error.what();
    if (message.starts_with(checkpoint.name())) throw;
    fail(error.code(), "{}: {}", checkpoint.name(), message);
  }
}

}  // namespace quire
