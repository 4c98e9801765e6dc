// A weight matrix that a checkpoint keeps as codes, scales and zero points in several tensors, converted to rows of the
// blocks that kernels take (tensor/formats/blocks.h). The schemes beside this file find and check the tensors; this
// file converts them to blocks of the narrowest format that holds them exactly. Views point into the mapped checkpoint
// and must not outlive it. Made by the loading thread; any thread may write blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/loading/checkpoint.h"
#include "tensor/tensor.h"

namespace quire {

struct QuantizedMatrix {
  Format format = Format::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* identity = nullptr;  // address of its codes: the same for tied matrices
  // Column i of the blocks belongs to element column_order[i] of the input. Empty: as they are.
  std::vector<int32_t> column_order;
  // Rows [first_row, first_row + num_rows) as blocks of `format`.
  std::function<void(int64_t first_row, int64_t num_rows, std::byte* dst)> write_rows;
};

// The tensors "<name>.<part>" of one quantised matrix [rows, cols].
class QuantizedModule {
 public:
  // takes_sparse: whether the matrix may become S8_G64.
  QuantizedModule(const Checkpoint& checkpoint, std::string name, int64_t rows, int64_t cols, bool takes_sparse = false)
      : checkpoint_(checkpoint), name_(std::move(name)), rows_(rows), cols_(cols), takes_sparse_(takes_sparse) {}

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  bool takes_sparse() const { return takes_sparse_; }
  std::string tensor_name(std::string_view part) const { return name_ + "." + std::string(part); }
  std::optional<TensorView> find(std::string_view part) const { return checkpoint_.find_tensor(tensor_name(part)); }
  // These throw Error naming the file, the tensor, what was found and what was expected.
  TensorView get(std::string_view part) const { return checkpoint_.tensor(tensor_name(part)); }
  TensorView get(std::string_view part, Format format, std::initializer_list<int64_t> shape) const;
  TensorView get_floats(std::string_view part) const;  // F32, F16 or BF16
  void check_shape(std::string_view part, const TensorView& view, std::initializer_list<int64_t> shape) const;
  [[noreturn]] void refuse(std::string_view part, const std::string& found, const std::string& expected) const;

 private:
  const Checkpoint& checkpoint_;
  std::string name_;
  int64_t rows_;
  int64_t cols_;
  bool takes_sparse_;
};

// One element of a tensor of whole numbers or floats, at any alignment.
int32_t int32_at(const TensorView& view, int64_t index);
float float_at(const TensorView& view, int64_t index);

// Scales of blocks of rows and groups of columns: [row blocks, groups], or [groups, rows] when transposed.
struct ScaleTable {
  TensorView view;
  int64_t rows_per_block = 1;
  int64_t num_groups = 1;
  bool transposed = false;

  float at(int64_t row, int64_t group) const {
    const int64_t rows = view.num_elements() / num_groups;
    return float_at(view, transposed ? group * rows + row : row / rows_per_block * num_groups + group);
  }
};

// weight(row, column) = scale(row, group) * (code(row, column) - zero(row, group)), group = groups[column].
struct IntegerCodes {
  int bits = 4;  // 4 or 8
  std::vector<int32_t> groups;
  ScaleTable scales;
  std::function<int(int64_t row, int64_t group)> zero;
  bool zero_is_middle = false;  // everywhere: 8 or 128
  bool may_be_sparse = false;   // S8_G64 is wanted if it holds the codes, which are then read to find out
  // codes[i * cols + place[column]] of rows [first_row, first_row + num_rows), unsigned; columns stay without `place`.
  std::function<void(int64_t first_row, int64_t num_rows, const int32_t* place, uint8_t* codes)> read;
};
// S8_G64, I4_G128, I4_G32, I8_G128 or Q8_0, with columns sorted by group if necessary; F32 for matrices that none of
// them holds: groups or widths that are not multiples of 32, eight bits with other zero points.
QuantizedMatrix matrix_of(const QuantizedModule& module, IntegerCodes codes, const std::byte* identity);

// weight(row, column) = scale * E4M3; groups[column] as above. F8_G128, or F32 where groups or width are not multiples
// of 128.
QuantizedMatrix matrix_of_f8(const QuantizedModule& module, const TensorView& codes, ScaleTable scales,
                             std::vector<int32_t> groups);

// E2M1 pairs, the even column low, [rows, cols / 2], and E8M0 scales [rows, cols / 32].
QuantizedMatrix matrix_of_mxfp4(const QuantizedModule& module, const TensorView& pairs, const TensorView& scales);

// The eight four-bit codes of a word, low bits first, one to a byte.
uint64_t spread_nibbles(uint32_t word);

// 0, 0, ..., 1, 1, ...: `size` columns each.
std::vector<int32_t> even_groups(int64_t cols, int64_t size);

}  // namespace quire
