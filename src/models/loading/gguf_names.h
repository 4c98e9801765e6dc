// The GGUF architectures that this build reads and writes, one per row, and the GGUF names of Hugging Face's tensors.
// GGUF's own names are described in ggml's documentation.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "tensor/files/gguf.h"

namespace quire {

struct NamePair {
  std::string_view hf;
  std::string_view gguf;
};

// One GGUF architecture. "llama" covers Llama, Mistral and Mixtral.
struct GgufArchitecture {
  const char* name;                      // general.architecture
  const char* model_type;                // of config.json
  const char* architecture;              // of config.json
  std::span<const NamePair> norm_names;  // of the norms around a layer's blocks
  bool rope_is_interleaved = false;      // Q and K rows are permuted for pairs (2i, 2i + 1)
  bool norms_include_one = false;        // the files have 1 + w where Hugging Face's have w
  // Adds keys that the metadata lack to those translated from them; may be null.
  void (*add_missing_keys)(const GgufFile& file, json::object& config) = nullptr;
  std::span<const std::string_view> also = {};  // further names in config.json that are written as this architecture
};

// Throws Error kUnsupported: found X in FILE, this build knows ...
const GgufArchitecture& gguf_architecture(const GgufFile& file);
// That keeps models of this name in config.json's "architectures"; null: none.
const GgufArchitecture* find_gguf_architecture(std::string_view hf_architecture);

// Where a file keeps the tensor that Hugging Face calls `hf_name`: all of the tensor `name`, or one expert's part of
// it.
struct GgufPlace {
  std::string name;
  std::optional<int64_t> expert = {};
};
std::optional<GgufPlace> gguf_place(const GgufArchitecture& architecture, std::string_view hf_name);
// The tensor that Hugging Face calls `hf_name`; a view into the stack for one expert of many.
std::optional<TensorView> find_gguf_tensor(const GgufFile& file, const GgufArchitecture& architecture,
                                           std::string_view hf_name);

}  // namespace quire
