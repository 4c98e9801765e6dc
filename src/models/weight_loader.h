// Hands an architecture its weights, in one of two ways. Measuring, it checks that every tensor exists with the
// expected shape in a format the kernel table multiplies, and adds up the packed bytes; pointers stay null. Loading, it
// packs into one arena. Architectures are built by the same code both times.
//
// Used by one thread; packing runs on the threads of `exec`.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "models/arena.h"
#include "models/checkpoint.h"
#include "models/layers/linear.h"
#include "models/layers/norm.h"

namespace quire {

class WeightLoader {
 public:
  using Progress = std::function<void(uint64_t done_bytes)>;

  WeightLoader(const Checkpoint& checkpoint, const Kernels& kernels);  // measures
  WeightLoader(const Checkpoint& checkpoint, const Kernels& kernels, const Exec& exec, AlignedBuffer& memory,
               Progress progress);  // loads

  // All of these throw Error naming the file, the tensor, what was found and what was expected.
  Linear linear(std::string_view name, int64_t rows, int64_t cols);
  // Rows [first_row, first_row + rows) of a fused tensor of `total_rows`.
  Linear linear_rows(std::string_view name, int64_t total_rows, int64_t first_row, int64_t rows, int64_t cols);
  // One matrix of a stack [count, rows_of_each, cols], and of it the rows [first_row, first_row + rows).
  Linear linear_of_stack(std::string_view name, int64_t count, int64_t rows_of_each, int64_t index, int64_t first_row,
                         int64_t rows, int64_t cols);
  // Floats, with `offset` added to each.
  const float* vector(std::string_view name, int64_t size, float offset = 0.0f);
  Norm norm(std::string_view name, int64_t dim, float eps, float offset = 0.0f);
  // Stays in the file.
  TensorView table(std::string_view name, int64_t rows, int64_t cols);

  bool has(std::string_view name) const { return checkpoint_.find_tensor(name).has_value(); }

  uint64_t packed_bytes() const { return arena_.used_bytes(); }
  uint64_t mapped_bytes() const { return mapped_bytes_; }
  uint64_t num_parameters() const { return num_parameters_; }

 private:
  TensorView checked(std::string_view name, std::initializer_list<int64_t> shape);
  Linear pack(std::string_view name, const TensorView& matrix);
  void count(const TensorView& view);
  void report();

  const Checkpoint& checkpoint_;
  const Kernels& kernels_;
  Exec exec_{};
  Arena arena_;
  Progress progress_;
  uint64_t mapped_bytes_ = 0;
  uint64_t num_parameters_ = 0;
  uint64_t released_bytes_ = 0;         // packed so far when the file's pages were last given back
  std::set<const std::byte*> counted_;  // tensors by their place: tied ones count once
};

}  // namespace quire
