// A checkpoint of a part that drafts for a target model (Medusa heads, an EAGLE layer). What the part shares with its
// target, the embedding and the output matrix, is read from the target's file when the part's own does not have it; of
// a target that is loaded on the same device it is the packed matrix.
//
// Owns nothing: both files and the lent matrix must outlive it. Read-only but for lend_head(); any thread.
#pragma once

#include <optional>
#include <string>

#include "models/layers/linear.h"
#include "models/loading/checkpoint.h"

namespace quire {

class PartCheckpoint : public Checkpoint {
 public:
  // `part`: of architectures/registry.h. Throws Error when the part was made for another hidden size.
  PartCheckpoint(const Checkpoint& own, const Checkpoint& target, std::string part);

  // The target's packed output matrix, by the kernel table that the part will have; without data for a plan. Nothing:
  // the part packs its own.
  void lend_head(std::optional<Linear> head);

  std::string_view part() const override { return part_; }
  bool is_of_another(std::string_view hf_name) const override { return !find_own(hf_name); }
  const Linear* packed(std::string_view hf_name) const override;

  const std::string& name() const override { return own_.name(); }
  bool is_gguf() const override { return own_.is_gguf(); }
  const GgufFile* gguf() const override { return own_.gguf(); }
  std::filesystem::path directory() const override { return own_.directory(); }
  const json::object& config() const override { return config_; }
  const json::object* generation_config() const override { return nullptr; }
  std::optional<TensorView> find_tensor(std::string_view hf_name) const override;
  std::vector<NamedTensor> all_tensors() const override { return own_.all_tensors(); }
  uint64_t file_bytes() const override { return own_.file_bytes(); }
  std::vector<const MappedFile*> files() const override { return {}; }
  bool rope_is_interleaved() const override { return own_.rope_is_interleaved(); }
  bool norms_include_one() const override { return own_.norms_include_one(); }
  void release_pages() const override { own_.release_pages(); }

 private:
  std::optional<TensorView> find_own(std::string_view hf_name) const;

  const Checkpoint& own_;
  const Checkpoint& target_;
  std::string part_;
  json::object config_;  // the part's, with the target's sizes where it gives none
  std::optional<Linear> head_;
};

}  // namespace quire
