// A GGUF file's metadata as the config.json that the same model would have in Hugging Face's form.
#pragma once

#include <span>

#include "base/json.h"
#include "tensor/files/gguf.h"

namespace quire {

struct GgufArchitecture;

// Throws Error kCorrupt for keys that are missing or wrong, kUnsupported for what this build does not run.
json::object gguf_config(const GgufFile& file, const GgufArchitecture& architecture);

// The sampling that the file recommends (`general.sampling`) as generation_config.json would; empty: it does not.
json::object gguf_generation_config(const GgufFile& file);

// The keys that hold it, and their names in generation_config.json.
struct GgufSamplingKey {
  const char* key;
  const char* name;
  bool is_integer = false;
};
std::span<const GgufSamplingKey> gguf_sampling_keys();

// GgufArchitecture::add_missing_keys of the architectures that need it.
void add_missing_gemma2_keys(const GgufFile& file, json::object& config);
void add_missing_gemma3_keys(const GgufFile& file, json::object& config);

}  // namespace quire
