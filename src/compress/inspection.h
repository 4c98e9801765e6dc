// What the tensors of a model hold, and how far they are from those of the model that it was made of: for learners and
// for those who look for the tensor that a compression hurt. GGUF files and directories alike, tensor by tensor under
// Hugging Face's names, in its order of rows; so the two models may be files of different kinds. One thread; values are
// converted on those of `exec`.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compress/files/conversion.h"
#include "kernels/kernels.h"
#include "models/loading/checkpoint.h"
#include "tensor/format.h"

namespace quire {

struct ValueRange {
  float lowest = 0;
  float highest = 0;
};

// A block's codes are `scale * (code - zero)` in groups. Of all groups of some blocks.
struct GroupScales {
  ValueRange scales;  // without sign
  ValueRange zeros;   // as codes; no whole numbers where the format keeps a minimum
};
// None for formats whose codes are no whole numbers: floats, and the four-bit ones with levels of their own. `blocks`:
// so many elements in the format's blocks.
std::optional<GroupScales> group_scales(Format format, std::span<const std::byte> blocks, int64_t num_elements);

// How far values are from others of the same number.
struct ValueDifference {
  double relative_rms = 0;  // root of the sum of squared differences over that of the others' squares
  float largest = 0;
};
ValueDifference difference_of(std::span<const float> values, std::span<const float> original);

struct InspectedTensor {
  static constexpr int kBins = 16;

  std::string name = {};
  std::vector<int64_t> shape = {};  // outermost first
  Format format = Format::kF32;     // of the blocks that the loader takes or makes of it
  double bits_per_weight = 0;       // in the file, scales included
  ValueRange values = {};
  double root_mean_square = 0;
  double share_of_zeros = 0;
  std::array<int64_t, kBins> histogram = {};  // of equal parts of `values`
  std::optional<GroupScales> groups = {};
  std::optional<ValueDifference> difference = {};
};

class Inspection {
 public:
  // `original` may be null; both must outlive this. Throws Error kUnsupported where the original is another model.
  Inspection(const Checkpoint& checkpoint, const Checkpoint* original);

  const std::vector<ConvertedTensor>& tensors() const { return model_.tensors(); }
  InspectedTensor inspect(const ConvertedTensor& tensor, const Exec& exec);

 private:
  double bits_per_weight(const ConvertedTensor& tensor) const;
  void add_blocks(const ConvertedTensor& tensor, const Exec& exec, InspectedTensor& result);

  const Checkpoint& checkpoint_;
  Conversion model_;
  std::optional<Conversion> original_;
  TensorSource weights_;
};

}  // namespace quire
