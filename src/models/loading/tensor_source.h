// The weights of a checkpoint as architectures ask for them: by Hugging Face's name and the shape that the
// configuration gives them. Checks both, finds matrices that a quantisation scheme keeps in several tensors under the
// name of the plain tensor, and returns only the rank's part of matrices that are divided. Knows nothing about kernels.
//
// Used by the thread that loads; blocks are converted on the threads of the given `exec`.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "models/layers/attention.h"
#include "models/loading/checkpoint.h"
#include "models/loading/matmul_tuning.h"
#include "models/loading/quantization/scheme.h"
#include "models/loading/rank_share.h"

namespace quire {

// A matrix of the whole model, before ranks divide it.
struct MatrixRequest {
  std::string name;  // of its tensor
  int64_t rows = 0;
  int64_t cols = 0;
  Partition partition = Partition::kNone;
  // If the tensor holds more than this matrix: its rows begin at first_row of total_rows (0 = nothing else).
  int64_t first_row = 0;
  int64_t total_rows = 0;
  // > 0: the tensor is a stack [num_stacked, total_rows / num_stacked, cols].
  int64_t num_stacked = 0;
  // The format that blocks() gives it in: a matrix of floats is quantised, one with codes stays as it is unless this is
  // F32. None: as the file has it.
  std::optional<Format> format = {};
};

// This rank's part of a matrix.
struct SourceMatrix {
  std::string name;                        // as requested
  int64_t first_row = 0;                   // as requested
  MatrixShape shape = {};                  // of the rank's part, as TensorSource::blocks gives it
  std::vector<int32_t> column_order = {};  // QuantizedMatrix::column_order

  std::variant<TensorView, QuantizedMatrix> whole = {};  // of the tensor
  int64_t part_row = 0;                                  // where the rank's part begins in `whole`
  int64_t part_col = 0;

  bool is_plain() const { return std::holds_alternative<TensorView>(whole); }
};

class TensorSource {
 public:
  // `checkpoint` must outlive this. takes_sparse: whether matrices may become S8_G64.
  TensorSource(const Checkpoint& checkpoint, RankShare share, bool takes_sparse = false);

  const std::string& file_name() const { return checkpoint_.name(); }
  bool has(std::string_view name) const { return checkpoint_.find_tensor(name).has_value(); }
  bool is_of_another(std::string_view name) const { return checkpoint_.is_of_another(name); }
  const Linear* packed(std::string_view name) const { return checkpoint_.packed(name); }

  // These throw Error naming the file, the tensor, what was found and what was expected.
  SourceMatrix matrix(const MatrixRequest& request);
  // A tensor in the mapped file, whole on every rank. A table is a matrix from which rows are read, not multiplied.
  TensorView plain_tensor(std::string_view name, std::initializer_list<int64_t> shape);
  TensorView table(const std::string& name, int64_t rows, int64_t cols);
  // The rank's heads.
  AttentionSizes share_of(AttentionSizes sizes);
  RankShare share() const { return share_; }

  // The rows of a matrix in blocks of its shape's format, one after the other; valid until the next call.
  const std::byte* blocks(const SourceMatrix& matrix, const Exec& exec);

  // The tensors that were asked for, each once, in that order: whole, under Hugging Face's names.
  struct Requested {
    std::string name;
    std::vector<int64_t> shape;  // of the plain tensor; [num_stacked, rows, cols] of a stack
  };
  const std::vector<Requested>& requested() const { return requested_; }
  // Names in the file of tensors that nobody has asked for and that the model might be expected to need: not those of
  // tables that follow from the configuration, nor a head beside a tied embedding.
  std::vector<std::string> unused_tensors() const;
  // Of all requested tensors, undivided; tied ones count once.
  uint64_t num_parameters() const { return num_parameters_; }
  // Releases the file's pages that were read so far.
  void release_pages() const { checkpoint_.release_pages(); }

 private:
  std::optional<QuantizedMatrix> find_quantized(const MatrixRequest& request) const;
  void divide(Partition partition, SourceMatrix& matrix);
  const std::byte* plain_blocks(const SourceMatrix& matrix, const TensorView& whole, const Exec& exec);
  const std::byte* quantized_blocks(const SourceMatrix& matrix, const QuantizedMatrix& whole, const Exec& exec);
  // In another format than the file has.
  const std::byte* converted_blocks(const SourceMatrix& matrix, const Exec& exec);
  std::byte* take_buffer(const MatrixShape& shape);
  void count(const std::byte* place, int64_t num_elements);
  void note(std::string_view name, std::vector<int64_t> shape);

  const Checkpoint& checkpoint_;
  std::unique_ptr<QuantizationScheme> scheme_;  // none: everything is plain
  RankShare share_;
  bool takes_sparse_;
  PartitionCheck partition_check_;
  AlignedBuffer buffer_;                // blocks of one matrix that had to be converted or copied
  std::set<const std::byte*> counted_;  // addresses of tensors
  uint64_t num_parameters_ = 0;
  std::vector<Requested> requested_;
  std::set<std::string, std::less<>> requested_names_;
};

}  // namespace quire
