#include "compress/inspection.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/error.h"
#include "tensor/formats/blocks.h"

namespace quire {
namespace {

// Where a block keeps codes that are whole numbers. With all of them 0 every element has the value -scale * zero; with
// the bytes of the low bits `ones`, it is one scale more.
struct CodeBytes {
  Format format;
  size_t first;  // of all bits of codes
  size_t count;
  size_t first_low;  // of their lowest bits, and so many
  size_t low_count;
  uint8_t ones;
};

constexpr CodeBytes kCodeBytes[] = {
    {Format::kQ8_0, 2, 32, 2, 32, 0x01},      {Format::kQ4_0, 2, 16, 2, 16, 0x11},
    {Format::kQ4_1, 4, 16, 4, 16, 0x11},      {Format::kQ5_0, 2, 20, 6, 16, 0x11},
    {Format::kQ5_1, 4, 20, 8, 16, 0x11},      {Format::kQ2_K, 16, 64, 16, 64, 0x55},
    {Format::kQ3_K, 0, 96, 32, 64, 0x55},     {Format::kQ4_K, 16, 128, 16, 128, 0x11},
    {Format::kQ5_K, 16, 160, 48, 128, 0x11},  {Format::kQ6_K, 0, 192, 0, 128, 0x11},
    {Format::kI4_G32, 4, 16, 4, 16, 0x11},    {Format::kI4_G128, 4, 64, 4, 64, 0x11},
    {Format::kI8_G128, 2, 128, 2, 128, 0x01},
};

void extend(ValueRange& range, float value) {
  range.lowest = std::min(range.lowest, value);
  range.highest = std::max(range.highest, value);
}

constexpr ValueRange kEmptyRange = {std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()};

std::string module_of(const std::string& name) { return name.substr(0, name.rfind('.')); }

void add_values(std::span<const float> values, InspectedTensor& result) {
  result.values = values.empty() ? ValueRange{} : kEmptyRange;
  double squares = 0;
  int64_t zeros = 0;
  for (const float value : values) {
    extend(result.values, value);
    squares += double{value} * double{value};
    if (value == 0) ++zeros;
  }
  const auto count = static_cast<double>(std::max<size_t>(1, values.size()));
  result.root_mean_square = std::sqrt(squares / count);
  result.share_of_zeros = static_cast<double>(zeros) / count;
  const double width = double{result.values.highest} - double{result.values.lowest};
  for (const float value : values) {
    const double place = width > 0 ? (double{value} - double{result.values.lowest}) / width : 0;
    const auto bin = static_cast<int64_t>(place * InspectedTensor::kBins);
    ++result.histogram[static_cast<size_t>(std::clamp<int64_t>(bin, 0, InspectedTensor::kBins - 1))];
  }
}

}  // namespace

std::optional<GroupScales> group_scales(Format format, std::span<const std::byte> blocks, int64_t num_elements) {
  const auto codes = std::ranges::find(kCodeBytes, format, &CodeBytes::format);
  if (codes == std::end(kCodeBytes) || num_elements == 0) return std::nullopt;
  const WeightFormat& row = weight_format(format);
  const auto block_bytes = static_cast<size_t>(row.block_bytes);
  GroupScales result = {kEmptyRange, kEmptyRange};
  std::vector<std::byte> block(block_bytes);
  std::vector<float> zeros(static_cast<size_t>(row.block_elements)), ones(zeros.size());
  for (size_t at = 0; at < row.bytes_of(num_elements); at += block_bytes) {
    std::memcpy(block.data(), blocks.data() + at, block_bytes);
    std::memset(block.data() + codes->first, 0, codes->count);
    row.dequantize(block.data(), zeros.data(), row.block_elements);
    std::memset(block.data() + codes->first_low, codes->ones, codes->low_count);
    row.dequantize(block.data(), ones.data(), row.block_elements);
    for (size_t i = 0; i < zeros.size(); i += 16) {  // the smallest group of any format
      const float scale = ones[i] - zeros[i];
      extend(result.scales, std::abs(scale));
      if (scale != 0) extend(result.zeros, -zeros[i] / scale);
    }
  }
  if (result.zeros.lowest > result.zeros.highest) result.zeros = {};
  return result;
}

ValueDifference difference_of(std::span<const float> values, std::span<const float> original) {
  CHECK(values.size() == original.size());
  ValueDifference result;
  double squares = 0;
  double size = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double difference = double{values[i]} - double{original[i]};
    squares += difference * difference;
    size += double{original[i]} * double{original[i]};
    result.largest = std::max(result.largest, std::abs(values[i] - original[i]));
  }
  result.relative_rms = size > 0 ? std::sqrt(squares / size) : squares > 0 ? 1 : 0;
  return result;
}

Inspection::Inspection(const Checkpoint& checkpoint, const Checkpoint* original)
    : checkpoint_(checkpoint), model_(checkpoint, ModelFileKind::kDirectory), weights_(checkpoint, RankShare{}) {
  if (original != nullptr) original_.emplace(*original, ModelFileKind::kDirectory);
}

double Inspection::bits_per_weight(const ConvertedTensor& tensor) const {
  const std::string& name = tensor.sources[0].name;
  uint64_t bytes = 0;
  const auto plain = checkpoint_.find_tensor(name);
  if (plain && weight_format(plain->format).is_weight()) {
    bytes = plain->size_bytes;
  } else {
    const std::string module = module_of(name);
    const std::string inner = "." + module.substr(module.find('.') + 1);
    for (const auto& [part, view] : checkpoint_.all_tensors()) {
      const std::string of_part = module_of(part);
      if (part.ends_with(".bias") || (of_part != module && !of_part.ends_with(inner))) continue;
      bytes += view.size_bytes;
    }
  }
  int64_t elements = 1;
  for (const int64_t size : tensor.shape) elements *= size;
  return 8.0 * static_cast<double>(bytes) / static_cast<double>(std::max<int64_t>(1, elements));
}

void Inspection::add_blocks(const ConvertedTensor& tensor, const Exec& exec, InspectedTensor& result) {
  std::optional<GroupScales> all;
  for (const MatrixRequest& part : tensor.sources) {
    const SourceMatrix matrix = weights_.matrix(part);
    result.format = matrix.shape.format;
    const int64_t elements = matrix.shape.rows * matrix.shape.cols;
    const std::byte* const blocks = weights_.blocks(matrix, exec);
    const auto found = group_scales(result.format, {blocks, weight_format(result.format).bytes_of(elements)}, elements);
    if (!found) return;
    if (!all) all = found;
    extend(all->scales, found->scales.lowest);
    extend(all->scales, found->scales.highest);
    extend(all->zeros, found->zeros.lowest);
    extend(all->zeros, found->zeros.highest);
  }
  result.groups = all;
}

InspectedTensor Inspection::inspect(const ConvertedTensor& tensor, const Exec& exec) {
  InspectedTensor result = {.name = tensor.name, .shape = tensor.shape};
  result.bits_per_weight = bits_per_weight(tensor);
  if (tensor.shape.size() > 1) {
    add_blocks(tensor, exec, result);
  } else {
    result.format = tensor.source_format;
  }
  const std::vector<float> values = model_.values(tensor, exec);
  add_values(values, result);
  if (original_) {
    const auto same = std::ranges::find(original_->tensors(), tensor.name, &ConvertedTensor::name);
    if (same == original_->tensors().end() || same->shape != tensor.shape) {
      fail(ErrorCode::kUnsupported, "the original has no tensor \"{}\" of this shape; it is another model",
           printable(tensor.name));
    }
    result.difference = difference_of(values, original_->values(*same, exec));
  }
  checkpoint_.release_pages();
  return result;
}

}  // namespace quire
