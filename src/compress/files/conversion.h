// A checkpoint's tensors as another kind of file keeps them: under its names, with its order of the rows of Q and K
// (GGUF's Llama rotates neighbours), its norms (GGUF's Gemma has 1 + w) and its stacks of experts. What a model has is
// what its architecture asks for when it is loaded, so every architecture of the registry can be converted, and names
// come from the one table of models/loading/gguf_names.h. One thread; values are converted on those of `exec`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/loading/checkpoint.h"
#include "models/loading/gguf_names.h"
#include "models/loading/tensor_source.h"
#include "models/model.h"

namespace quire {

enum class ModelFileKind : uint8_t { kGguf, kDirectory };

struct ConvertedTensor {
  std::string name;            // in the output
  std::vector<int64_t> shape;  // outermost first
  Format source_format = Format::kF32;
  bool is_matrix = false;  // multiplied by rows or looked up; not a router, a norm or a bias
  // Its parts in the source, one for each expert of a stack; rank 1: only the name counts.
  std::vector<MatrixRequest> sources;
  std::vector<int32_t> row_order = {};  // of each source: row i is its row row_order[i]; empty: as they are
  float offset = 0.0f;                  // added to the values

  int64_t cols() const { return shape.back(); }
};

class Conversion {
 public:
  // Reads headers. Throws Error kUnsupported for an architecture that GGUF has no name for. `source` must outlive this.
  Conversion(const Checkpoint& source, ModelFileKind to);

  const std::vector<ConvertedTensor>& tensors() const { return tensors_; }
  const ModelInfo& info() const { return info_; }
  // Of the output, or of a GGUF source; null between directories.
  const GgufArchitecture* architecture() const { return architecture_; }
  // Tensors of the source that the model does not use and that are left out.
  const std::vector<std::string>& left_out() const { return left_out_; }

  // In the output's order.
  std::vector<float> values(const ConvertedTensor& tensor, const Exec& exec);
  // The same in `format`: copied where the source has it so, else quantised by the format's own plain row.
  std::vector<std::byte> bytes(const ConvertedTensor& tensor, Format format, const Exec& exec);

 private:
  void add_to_gguf(const TensorSource::Requested& tensor);
  void add_experts(const TensorSource::Requested& stack, std::string_view prefix);
  void add_expert(const std::string& gguf_name, MatrixRequest part);
  void add(ConvertedTensor tensor);
  std::vector<int32_t> row_order_of(std::string_view hf_name) const;
  std::optional<std::vector<std::byte>> copied(const ConvertedTensor& tensor, Format format) const;
  void read(const MatrixRequest& request, std::span<float> out, const Exec& exec);

  const Checkpoint& source_;
  ModelFileKind to_;
  std::unique_ptr<TensorSource> weights_;
  ModelInfo info_;
  const GgufArchitecture* architecture_ = nullptr;
  bool permutes_ = false;  // rows of Q and K
  bool to_interleaved_ = false;
  int rope_dim_ = 0;
  float norm_offset_ = 0.0f;
  std::vector<ConvertedTensor> tensors_;
  std::map<std::string, size_t, std::less<>> stacks_;
  std::vector<std::string> left_out_;
};

}  // namespace quire
