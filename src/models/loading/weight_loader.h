// Hands an architecture its weights, in one of two ways. Measuring, it checks that every tensor exists with the
// expected shape in a format the kernel table multiplies, and adds up the packed bytes; pointers stay null. Loading, it
// packs into one arena. Architectures are built by the same code both times. Matrices that a quantisation scheme keeps
// in several tensors go by the name that the plain one would have. Sizes are the whole model's; of what is divided
// among ranks it hands out the share of its rank.
//
// Used by one thread; packing runs on the threads of `exec`.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/arena.h"
#include "models/layers/attention.h"
#include "models/layers/linear.h"
#include "models/layers/norm.h"
#include "models/loading/checkpoint.h"
#include "models/loading/matmul_tuning.h"
#include "models/loading/quantization/scheme.h"
#include "models/loading/rank_share.h"

namespace quire {

class WeightLoader {
 public:
  using Progress = std::function<void(uint64_t done_bytes)>;

  // measures; on_host: for the tables of the host
  WeightLoader(const Checkpoint& checkpoint, const Kernels& kernels, bool on_host, RankShare share = {});
  // loads
  WeightLoader(const Checkpoint& checkpoint, const Kernels& kernels, const Exec& exec, Device& device,
               DeviceBuffer& memory, MatmulTunings tunings, Progress progress, RankShare share = {});

  // All of these throw Error naming the file, the tensor, what was found and what was expected.
  Linear linear(std::string_view name, int64_t rows, int64_t cols, Partition partition = Partition::kNone);
  // The same, of one of a mixture's experts.
  Linear expert_linear(std::string_view name, int64_t rows, int64_t cols, Partition partition);
  // The same, of a router: its products choose experts, so they must not depend on how a table rounds its input. A
  // plain matrix that the table multiplies by packed rows is loaded as F32.
  Linear router_linear(std::string_view name, int64_t rows, int64_t cols);
  // Rows [first_row, first_row + rows) of a fused tensor of `total_rows`, divided.
  Linear linear_rows(std::string_view name, int64_t total_rows, int64_t first_row, int64_t rows, int64_t cols);
  // An expert's matrix of a stack [count, rows_of_each, cols], and of it the rows [first_row, first_row + rows).
  Linear linear_of_stack(std::string_view name, int64_t count, int64_t rows_of_each, int64_t index, int64_t first_row,
                         int64_t rows, int64_t cols, Partition partition);
  // Floats, with `offset` added to each.
  const float* vector(std::string_view name, int64_t size, float offset = 0.0f);
  // Of a matrix of so many rows: where its columns are divided rank 0 adds the bias, the others have none.
  const float* bias(std::string_view name, int64_t rows, Partition partition);
  Norm norm(std::string_view name, int64_t dim, float eps, float offset = 0.0f);
  // Values beside the weights; null while measuring.
  template <typename T>
  const T* place(std::span<const T> values) {
    T* to = arena_.take<T>(static_cast<int64_t>(values.size()));
    if (to != nullptr)
      device_->upload(reinterpret_cast<std::byte*>(to), reinterpret_cast<const std::byte*>(values.data()),
                      values.size_bytes());
    return to;
  }
  // What Kernels::embed_rows reads. It stays in the file where the table is the host's; elsewhere it is packed, or
  // `same`, the matrix of this very tensor, when that is given.
  PackedMatrix table(std::string_view name, int64_t rows, int64_t cols, const Linear* same);

  // The rank's heads.
  AttentionSizes share_of(AttentionSizes sizes);

  bool has(std::string_view name) const { return checkpoint_.find_tensor(name).has_value(); }

  uint64_t packed_bytes() const { return arena_.used_bytes(); }
  uint64_t mapped_bytes() const { return mapped_bytes_; }
  uint64_t num_parameters() const { return num_parameters_; }
  // The distinct packed matrices.
  const std::set<MatrixShape>& matrices() const { return matrices_; }

 private:
  std::vector<float> floats(std::string_view name, int64_t size);  // zeros while measuring
  const float* place_floats(std::span<const float> values);
  TensorView checked(std::string_view name, std::initializer_list<int64_t> shape);
  // Which of the table's layouts a matrix may have: PackedMatrix::is_dense, or the one that everything can read.
  enum class Layout : uint8_t { kDense, kCommon };
  // How the caller wants it packed.
  struct PackRequest {
    Layout layout = Layout::kCommon;
    Partition partition = Partition::kNone;
  };
  Linear rows_in(PackRequest request, std::string_view name, int64_t total_rows, int64_t first_row, int64_t rows,
                 int64_t cols);
  Linear pack(std::string_view name, const TensorView& matrix, PackRequest request);
  std::optional<QuantizedMatrix> find_quantized(std::string_view name, int64_t rows, int64_t cols) const;
  Linear pack(std::string_view name, const QuantizedMatrix& matrix, int64_t first_row, int64_t rows,
              PackRequest request);
  // What the rank keeps of a matrix.
  struct Part {
    int64_t first_row = 0;
    int64_t rows = 0;
    int64_t first_col = 0;
    int64_t cols = 0;
  };
  Part part_of(std::string_view name, const MatrixShape& whole, Partition partition);
  const std::byte* blocks_of(const TensorView& matrix, const Part& part);
  void write_blocks(const QuantizedMatrix& matrix, const Part& part, std::byte* to) const;
  std::byte* make_blocks(size_t size_bytes);
  // The memory of a packed matrix; data is null while measuring.
  struct PackTarget {
    std::byte* data = nullptr;
    bool is_dense = false;
  };
  PackTarget take_target(std::string_view name, const MatrixShape& shape, Layout layout);
  void fill(const PackTarget& target, const MatrixShape& shape, const std::byte* blocks);
  PackedMatrix tuned(const MatrixShape& shape, const PackTarget& target) const;
  ColumnOrder take_order(const std::vector<int32_t>& columns);
  void count(const std::byte* place, int64_t num_elements);
  void report();

  const Checkpoint& checkpoint_;
  const Kernels& kernels_;
  bool on_host_;
  Exec exec_{};
  Device* device_ = nullptr;
  Arena arena_;
  MatmulTunings tunings_;
  RankShare share_;
  PartitionCheck partition_check_;
  Progress progress_;
  std::set<MatrixShape> matrices_;
  uint64_t mapped_bytes_ = 0;
  uint64_t num_parameters_ = 0;
  uint64_t released_bytes_ = 0;         // packed so far when the file's pages were last given back
  std::set<const std::byte*> counted_;  // tensors by their place: tied ones count once

  std::unique_ptr<QuantizationScheme> scheme_;          // none: everything is plain
  AlignedBuffer blocks_;                                // of one matrix, on its way from codes to packed
  std::map<std::vector<int32_t>, ColumnOrder> orders_;  // matrices that share an input mostly share the order
  std::map<int64_t, ColumnOrder> order_scratch_;        // by columns: one step uses it at a time
};

}  // namespace quire
