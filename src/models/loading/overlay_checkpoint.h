// A checkpoint some of whose matrices are replaced by floats in memory: what a layer computes once it is compressed,
// before anything is written.
//
// Does not own the checkpoint beneath, which must outlive it. One thread.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "models/loading/checkpoint.h"

namespace quire {

class OverlayCheckpoint : public Checkpoint {
 public:
  explicit OverlayCheckpoint(const Checkpoint& base) : base_(base) {}

  // Puts `values` [shape] in the place of a tensor. Where the checkpoint beneath has the matrix "<module>.weight" as
  // codes and scales, these are not found any more.
  void replace(const std::string& hf_name, std::initializer_list<int64_t> shape, std::vector<float> values);
  // Gives the memory of all replaced matrices back.
  void clear() { replaced_.clear(); }

  const std::string& name() const override { return base_.name(); }
  std::string_view part() const override { return base_.part(); }
  bool is_gguf() const override { return base_.is_gguf(); }
  const GgufFile* gguf() const override { return base_.gguf(); }
  std::filesystem::path directory() const override { return base_.directory(); }
  const json::object& config() const override { return base_.config(); }
  const json::object* generation_config() const override { return base_.generation_config(); }
  std::optional<TensorView> find_tensor(std::string_view hf_name) const override;
  std::vector<NamedTensor> all_tensors() const override { return base_.all_tensors(); }
  uint64_t file_bytes() const override { return base_.file_bytes(); }
  std::vector<const MappedFile*> files() const override { return {}; }
  bool rope_is_interleaved() const override { return base_.rope_is_interleaved(); }
  bool norms_include_one() const override { return base_.norms_include_one(); }
  void release_pages() const override { base_.release_pages(); }

 private:
  struct Replaced {
    std::vector<float> values;
    TensorView view;
  };
  const Checkpoint& base_;
  std::map<std::string, Replaced, std::less<>> replaced_;
};

}  // namespace quire
