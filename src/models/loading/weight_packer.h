// Packs matrices into the layouts that a kernel table multiplies, one after the other into one arena of its device.
// Without memory it only counts: the same code, run twice, first learns the size and then fills it. Over memory that
// was filled before (weight_cache.h), it finds everything in its place.
//
// Used by the thread that loads; packing runs on the threads of `exec`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "models/arena.h"
#include "models/layers/linear.h"
#include "models/loading/matmul_tuning.h"
#include "models/loading/tensor_source.h"

namespace quire {

class WeightPacker {
 public:
  using Progress = std::function<void(uint64_t done_bytes)>;
  // Which of the table's layouts a matrix may have: PackedMatrix::is_dense if the table has it, or only the layout that
  // all its operations read.
  enum class Layout : uint8_t { kDense, kCommon };

  // Where a step will find the packed byte at this offset.
  using PlaceOf = std::function<const std::byte*(uint64_t offset)>;

  // counts
  explicit WeightPacker(const Kernels& kernels) : kernels_(kernels) {}
  // packs into `memory` of the device, zeroed
  WeightPacker(const Kernels& kernels, const Exec& exec, Device& device, std::span<std::byte> memory,
               MatmulTunings tunings, Progress progress);

  // finds: `packed` has the bytes that packing the same matrices made. It outlives what is returned, unless `place_of`
  // says that they will be elsewhere.
  WeightPacker(const Kernels& kernels, std::span<const std::byte> packed, MatmulTunings tunings, PlaceOf place_of = {});

  bool counts_only() const { return arena_.counts_only(); }
  uint64_t packed_bytes() const { return arena_.used_bytes(); }
  // The distinct matrices so far.
  const std::set<MatrixShape>& matrices() const { return matrices_; }

  // Begins a section: nothing in another one points to what is packed from now on, so that it can come and go alone.
  void begin_section();
  // Where sections begin, as offsets.
  const std::vector<uint64_t>& sections() const { return sections_; }
  // Without a bias. Throws Error kUnsupported, naming file and tensor, for a format that the table does not multiply.
  Linear pack(TensorSource& source, const SourceMatrix& matrix, Layout layout);
  // Values beside the weights; null while counting. Throws Error kCorrupt when others are found in their place.
  template <typename T>
  const T* place(std::span<const T> values) {
    return reinterpret_cast<const T*>(place_bytes(std::as_bytes(values)));
  }
  // The same for values that have addresses or settings of this process in them. On the host they lie outside of the
  // packed memory, which has zeros in their place: its bytes then follow from the model alone.
  template <typename T>
  std::shared_ptr<const T[]> place_own(std::span<const T> values) {
    std::byte* const to = arena_.take_bytes(values.size_bytes());
    if (to == nullptr) return nullptr;
    if (device_ == nullptr || device_->is_host()) {
      const auto copy = std::make_shared<T[]>(values.size());
      std::ranges::copy(values, copy.get());
      return copy;
    }
    device_->upload(to, std::as_bytes(values).data(), values.size_bytes());
    return {std::shared_ptr<const T[]>(), reinterpret_cast<const T*>(to)};  // the packed memory's
  }

 private:
  // The memory of a packed matrix; data is null while counting.
  struct PackTarget {
    std::byte* data = nullptr;
    bool is_dense = false;
  };
  const std::byte* place_bytes(std::span<const std::byte> values);
  // The address for those who read packed bytes that are at `at` now.
  const std::byte* place_of(const std::byte* at) const;
  PackTarget take_target(const TensorSource& source, const SourceMatrix& matrix, Layout layout);
  void fill(TensorSource& source, const SourceMatrix& matrix, const PackTarget& target);
  const int32_t* place_columns(const std::vector<int32_t>& columns);
  MatmulTuning tuning_of(const MatrixShape& shape) const;

  const Kernels& kernels_;
  Exec exec_{};
  Device* device_ = nullptr;  // null while it counts, and when it finds
  Arena arena_;
  MatmulTunings tunings_;
  Progress progress_;
  const std::byte* packed_ = nullptr;  // of place_of_
  PlaceOf place_of_;
  std::vector<uint64_t> sections_;
  std::set<MatrixShape> matrices_;
  uint64_t released_bytes_ = 0;  // packed when the file's pages were last released
  // Linear::columns: matrices that share an input mostly share the order.
  std::map<std::vector<int32_t>, const int32_t*> columns_;
};

}  // namespace quire
