// A model on disk: a Hugging Face directory or a GGUF file, read under Hugging Face's names.
//
// Architectures are written once, against config.json keys and Hugging Face tensor names; for GGUF this class
// translates both. Owns the mapped files; read-only, any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/mapped_file.h"
#include "tensor/files/gguf.h"
#include "tensor/tensor.h"

namespace quire {

struct Linear;

class Checkpoint {
 public:
  // `path`: a directory with config.json and safetensors, or a .gguf file (the first shard of several). Reads headers,
  // not weights. Throws Error saying what was found and what this build knows.
  static std::unique_ptr<Checkpoint> open(const std::filesystem::path& path);
  // A GGUF image in memory (the embedded demo model); `bytes` must outlive the checkpoint.
  static std::unique_ptr<Checkpoint> from_gguf_bytes(std::span<const std::byte> bytes, std::string name);

  virtual ~Checkpoint() = default;
  virtual const std::string& name() const = 0;  // the path, for messages
  // The part of another model that this is to be loaded as (part_checkpoint.h); empty: a model of its own.
  virtual std::string_view part() const { return {}; }
  virtual bool is_gguf() const = 0;
  virtual const GgufFile* gguf() const = 0;             // null for a directory
  virtual std::filesystem::path directory() const = 0;  // of tokenizer files; empty for GGUF
  // config.json, or the same keys made from GGUF metadata (model_type, hidden_size, rope_scaling ...).
  virtual const json::object& config() const = 0;
  // generation_config.json, or the same keys made from GGUF's `general.sampling`; null when there is none.
  virtual const json::object* generation_config() const = 0;
  virtual std::optional<TensorView> find_tensor(std::string_view hf_name) const = 0;
  TensorView tensor(std::string_view hf_name) const;  // throws Error naming the tensor when absent
  // Of a part: the tensor is in the file of the model that it belongs to, whose plan counts it.
  virtual bool is_of_another(std::string_view /*hf_name*/) const { return false; }
  // The matrix as that model has packed it, which need not be done again; or null.
  virtual const Linear* packed(std::string_view /*hf_name*/) const { return nullptr; }
  // Every tensor under its own name in the file.
  struct NamedTensor {
    std::string name;
    TensorView view;
  };
  virtual std::vector<NamedTensor> all_tensors() const = 0;
  virtual uint64_t file_bytes() const = 0;
  // The files that all its weights lie in; empty where some lie elsewhere, in memory or in another model's file.
  virtual std::vector<const MappedFile*> files() const = 0;
  // GGUF "llama" and its kin store Q and K rows for interleaved RoPE pairs; Gemma's GGUF norms include the "1 +".
  virtual bool rope_is_interleaved() const = 0;
  virtual bool norms_include_one() const = 0;
  // Releases the pages of weights that have been packed.
  virtual void release_pages() const = 0;
};

// Whether all its matrices are floats, and most of them BF16.
bool is_bf16(const Checkpoint& checkpoint);

}  // namespace quire
