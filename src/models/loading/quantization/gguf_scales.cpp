// NVFP4 in GGUF: the blocks of a matrix give its values up to one float factor, which files keep in a tensor
// "<matrix>.scale" beside "<matrix>.weight" (one for each expert). The loader writes the factor into its blocks. Scales
// of activations (".input_scale") are not used: activations are multiplied as floats.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "models/loading/quantization/scheme.h"
#include "tensor/formats/blocks.h"

namespace quire {
namespace {

class GgufScales : public QuantizationScheme {
 public:
  std::string description() const override { return "NVFP4"; }

  std::optional<QuantizedMatrix> find(const QuantizedModule& module) const override {
    const auto weight = module.find("weight");
    const auto scale = module.find("scale");
    if (!weight || !scale) return std::nullopt;
    if (weight->format != Format::kNVFP4) {
      module.refuse("scale", fmt::format("belongs to a matrix in {}", weight_format(weight->format).name), "NVFP4");
    }
    module.check_shape("weight", *weight, {module.rows(), module.cols()});
    if (scale->format != Format::kF32 || scale->num_elements() != 1) {
      module.refuse("scale",
                    fmt::format("is {} {}", weight_format(scale->format).name, shape_text(scale->dimensions())),
                    "F32 [1]");
    }
    auto write_rows = [blocks = *weight, d = float_at(*scale, 0)](int64_t first_row, int64_t num_rows, std::byte* dst) {
      for (int64_t row = first_row; row < first_row + num_rows; ++row) {
        const auto* from = reinterpret_cast<const BlockNVFP4*>(blocks.row(row));
        for (int64_t c = 0; c < blocks.cols(); c += BlockNVFP4::kElements, ++from, dst += sizeof(BlockF4)) {
          const BlockF4 block = with_scale(*from, d);
          std::memcpy(dst, &block, sizeof block);
        }
      }
    };
    return QuantizedMatrix{Format::kF4_G16, module.rows(), module.cols(), weight->data, {}, std::move(write_rows)};
  }

 private:
  static BlockF4 with_scale(const BlockNVFP4& from, float d) {
    BlockF4 block = {.d = d, .scales = {}, .q = {}};
    std::ranges::transform(from.scales, block.scales, [](uint8_t scale) {
      const auto magnitude = static_cast<uint8_t>(scale & 0x7f);
      return magnitude == 0x7f ? uint8_t{0} : magnitude;
    });
    std::ranges::copy(from.q, block.q);
    return block;
  }
};

}  // namespace

std::unique_ptr<QuantizationScheme> read_gguf_scales(const Checkpoint& checkpoint) {
  const auto tensors = checkpoint.all_tensors();
  const bool any =
      std::ranges::any_of(tensors, [](const auto& tensor) { return tensor.view.format == Format::kNVFP4; });
  return any ? std::make_unique<GgufScales>() : nullptr;
}

}  // namespace quire
