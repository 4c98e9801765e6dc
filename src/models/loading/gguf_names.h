// GGUF in Hugging Face's words: metadata to config.json keys, Hugging Face tensor names to GGUF ones. The tables are
// the contents of gguf_names.cpp; GGUF's own names are described in ggml's documentation.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "tensor/files/gguf.h"

namespace quire {

// What one GGUF architecture means. "llama" covers Llama, Mistral and Mixtral.
struct GgufArchitecture {
  const char* name;          // general.architecture
  const char* model_type;    // of config.json
  const char* architecture;  // of config.json
  bool rope_is_interleaved;  // Q and K rows are permuted for pairs (2i, 2i + 1)
  bool is_gemma;             // four norms a layer, stored as 1 + weight
};

// Throws Error kUnsupported: found X in FILE, this build knows ...
const GgufArchitecture& gguf_architecture(const GgufFile& file);
// The same keys that config.json would have.
json::object gguf_config(const GgufFile& file, const GgufArchitecture& architecture);
// The tensor that Hugging Face calls `hf_name`; a view into the stack for one expert of many.
std::optional<TensorView> find_gguf_tensor(const GgufFile& file, const GgufArchitecture& architecture,
                                           std::string_view hf_name);

}  // namespace quire
