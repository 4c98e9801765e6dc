// Gives an architecture its weights, in one of three modes. Measuring checks that every tensor exists with the expected
// shape in a format that the kernel table multiplies, and adds up the packed bytes; pointers stay null. Loading packs
// the weights. Finding has them packed already, by an earlier load. The same code builds the architecture each time.
// Sizes are the whole model's; of matrices that are divided among ranks the loader returns its rank's part.
// TensorSource reads, WeightPacker packs.
//
// Used by one thread; packing runs on the threads of `exec`.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/layers/attention.h"
#include "models/layers/embedding.h"
#include "models/layers/linear.h"
#include "models/layers/norm.h"
#include "models/loading/tensor_source.h"
#include "models/loading/weight_packer.h"
#include "models/loading/weights_wanted.h"

namespace quire {

class WeightLoader {
 public:
  using Progress = WeightPacker::Progress;

  // measures
  WeightLoader(const Checkpoint& checkpoint, const Kernels& kernels, const WeightsWanted& wanted = {})
      : wanted_(wanted),
        source_(checkpoint, wanted.share, takes_sparse(kernels, wanted)),
        packer_(kernels),
        kernels_(kernels) {}
  // loads
  WeightLoader(const Checkpoint& checkpoint, const Kernels& kernels, const Exec& exec, Device& device,
               std::span<std::byte> memory, MatmulTunings tunings, Progress progress, const WeightsWanted& wanted = {})
      : wanted_(wanted),
        source_(checkpoint, wanted.share, takes_sparse(kernels, wanted)),
        packer_(kernels, exec, device, memory, std::move(tunings), std::move(progress)),
        kernels_(kernels) {}
  // finds
  WeightLoader(const Checkpoint& checkpoint, const Kernels& kernels, std::span<const std::byte> packed,
               MatmulTunings tunings, const WeightsWanted& wanted = {}, WeightPacker::PlaceOf place_of = {})
      : wanted_(wanted),
        source_(checkpoint, wanted.share, takes_sparse(kernels, wanted)),
        packer_(kernels, packed, std::move(tunings), std::move(place_of)),
        kernels_(kernels) {}

  // The layers to load of a model with `num_layers`. Throws Error kInvalidArgument when it does not have them.
  LayerRange stage(int num_layers) const;

  // All of these throw Error naming the file, the tensor, what was found and what was expected.
  Linear linear(const MatrixRequest& request);
  // The same for one of a mixture's experts.
  Linear expert_linear(const MatrixRequest& request);
  // The same for a router: its products choose experts, so they must not depend on how a table rounds its input. A
  // plain matrix that the table would multiply by packed rows is loaded as F32.
  Linear router_linear(const MatrixRequest& request);
  // The bias of a matrix with this many rows. Where columns are divided, rank 0 adds the bias and the other ranks have
  // none.
  const float* bias(std::string_view name, int64_t rows, Partition partition);
  // `offset` is added to each weight.
  Norm norm(std::string_view name, int64_t dim, float eps, float offset);
  // The embedding table [rows, cols]. It stays in the file for a kernel table that reads it there; else it is packed,
  // or is `same`, the packed matrix of the same tensor, when that is given.
  Embedding embedding(const std::string& name, int64_t rows, int64_t cols, const Linear* same);
  // Values beside the weights; null while measuring.
  template <typename T>
  const T* place(std::span<const T> values) {
    return packer_.place(values);
  }
  // The same for values of this process alone (WeightPacker::place_own).
  template <typename T>
  std::shared_ptr<const T[]> place_own(std::span<const T> values) {
    return packer_.place_own(values);
  }

  // Before each layer of a decoder, and before what follows the last (WeightPacker::begin_section).
  void begin_section() { packer_.begin_section(); }
  const std::vector<uint64_t>& sections() const { return packer_.sections(); }

  // The rank's heads.
  AttentionSizes share_of(const AttentionSizes& sizes) { return source_.share_of(sizes); }
  bool has(std::string_view name) const { return source_.has(name); }

  uint64_t packed_bytes() const { return packer_.packed_bytes(); }
  uint64_t mapped_bytes() const { return mapped_bytes_; }
  uint64_t num_parameters() const { return source_.num_parameters(); }
  const std::vector<TensorSource::Requested>& requested_tensors() const { return source_.requested(); }
  std::vector<std::string> unused_tensors() const { return source_.unused_tensors(); }
  // The distinct packed matrices.
  const std::set<MatrixShape>& matrices() const { return packer_.matrices(); }

 private:
  using Layout = WeightPacker::Layout;

  static bool takes_sparse(const Kernels& kernels, const WeightsWanted& wanted) {
    return !wanted.format && kernels.packed_bytes(Format::kS8_G64, 1, 64) > 0;
  }
  std::vector<float> floats(std::string_view name, int64_t size);  // zeros while measuring
  // The request in the format that is wanted.
  MatrixRequest as_wanted(const MatrixRequest& request) const;

  WeightsWanted wanted_;
  TensorSource source_;
  WeightPacker packer_;
  const Kernels& kernels_;
  uint64_t mapped_bytes_ = 0;
};

}  // namespace quire
