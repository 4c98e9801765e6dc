// The architectures this build knows. A new one is a file beside this one and a row in registry.cpp.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "models/loading/checkpoint.h"
#include "models/loading/weight_loader.h"
#include "models/model.h"

namespace quire {

std::unique_ptr<Model> make_llama(const Checkpoint& checkpoint, WeightLoader& loader);
std::unique_ptr<Model> make_mistral(const Checkpoint& checkpoint, WeightLoader& loader);
std::unique_ptr<Model> make_mixtral(const Checkpoint& checkpoint, WeightLoader& loader);
std::unique_ptr<Model> make_qwen2(const Checkpoint& checkpoint, WeightLoader& loader);
std::unique_ptr<Model> make_qwen3(const Checkpoint& checkpoint, WeightLoader& loader);
std::unique_ptr<Model> make_qwen3_moe(const Checkpoint& checkpoint, WeightLoader& loader);
std::unique_ptr<Model> make_gemma2(const Checkpoint& checkpoint, WeightLoader& loader);
std::unique_ptr<Model> make_gemma3(const Checkpoint& checkpoint, WeightLoader& loader);
std::unique_ptr<Model> make_phi3(const Checkpoint& checkpoint, WeightLoader& loader);

// Parts that draft for another model.
std::unique_ptr<Model> make_medusa(const Checkpoint& checkpoint, WeightLoader& loader);
std::unique_ptr<Model> make_eagle(const Checkpoint& checkpoint, WeightLoader& loader);
std::unique_ptr<Model> make_eagle3(const Checkpoint& checkpoint, WeightLoader& loader);

struct RegistryEntry {
  const char* architecture;  // of config.json's "architectures"; of a part: Checkpoint::part
  const char* model_type;    // where "architectures" is absent
  std::unique_ptr<Model> (*make)(const Checkpoint& checkpoint, WeightLoader& loader);
};
std::span<const RegistryEntry> model_registry();

// Throws Error kUnsupported naming what was found and what this build knows.
std::unique_ptr<Model> make_model(const Checkpoint& checkpoint, WeightLoader& loader);

}  // namespace quire
