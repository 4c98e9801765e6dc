#include "models/loading/weight_packer.h"

#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "kernels/select.h"

namespace quire {
namespace {

constexpr uint64_t kReleaseEvery = uint64_t{64} << 20;  // limits what the mapped file adds to peak memory

std::string multiplied_formats(const Kernels& kernels) {
  std::string names;
  for (int i = 0; i < kNumFormats; ++i) {
    const WeightFormat& format = weight_format(static_cast<Format>(i));
    if (!format.is_weight() || kernels.packed_bytes(format.format, 1, format.block_elements) == 0) continue;
    names += names.empty() ? "" : ", ";
    names += format.name;
  }
  return names;
}

}  // namespace

WeightPacker::WeightPacker(const Kernels& kernels, const Exec& exec, Device& device, std::span<std::byte> memory,
                           MatmulTunings tunings, Progress progress)
    : kernels_(kernels),
      exec_(exec),
      device_(&device),
      arena_(memory),
      tunings_(std::move(tunings)),
      progress_(std::move(progress)) {}

WeightPacker::WeightPacker(const Kernels& kernels, std::span<const std::byte> packed, MatmulTunings tunings,
                           PlaceOf place_of)
    : kernels_(kernels),
      arena_(std::span(const_cast<std::byte*>(packed.data()), packed.size())),  // without a device nothing is written
      tunings_(std::move(tunings)),
      packed_(packed.data()),
      place_of_(std::move(place_of)) {}

void WeightPacker::begin_section() {
  sections_.push_back(arena_.used_bytes());
  columns_.clear();
}

const std::byte* WeightPacker::place_of(const std::byte* at) const {
  return place_of_ ? place_of_(static_cast<uint64_t>(at - packed_)) : at;
}

Linear WeightPacker::pack(TensorSource& source, const SourceMatrix& matrix, Layout layout) {
  const MatrixShape& shape = matrix.shape;
  const PackTarget target = take_target(source, matrix, layout);
  const bool takes_packed = kernels_.takes_packed(shape.format);
  CHECK(takes_packed || matrix.column_order.empty());
  const int32_t* const columns = place_columns(matrix.column_order);
  if (device_ != nullptr) fill(source, matrix, target);
  return {.weights = {.format = shape.format,
                      .rows = shape.rows,
                      .cols = shape.cols,
                      .data = place_of(target.data),
                      .tuning = tuning_of(shape),
                      .is_dense = target.is_dense},
          .takes_packed = takes_packed,
          .columns = columns,
          .name = matrix.name,
          .first_row = matrix.first_row};
}

const std::byte* WeightPacker::place_bytes(std::span<const std::byte> values) {
  std::byte* const to = arena_.take_bytes(values.size());
  if (device_ != nullptr) {
    device_->upload(to, values.data(), values.size());
  } else if (to != nullptr && !values.empty() && std::memcmp(to, values.data(), values.size()) != 0) {
    fail(ErrorCode::kCorrupt, "the packed weights are not those of the model: {} bytes differ", values.size());
  }
  return place_of(to);
}

WeightPacker::PackTarget WeightPacker::take_target(const TensorSource& source, const SourceMatrix& matrix,
                                                   Layout layout) {
  const auto& [format, rows, cols] = matrix.shape;
  const size_t dense_bytes = layout == Layout::kDense ? kernels_.dense_bytes(format, rows, cols) : 0;
  const size_t bytes = dense_bytes > 0 ? dense_bytes : kernels_.packed_bytes(format, rows, cols);
  if (bytes == 0) {
    const bool on_cpu = runnable_kernels().front()->packed_bytes(format, rows, cols) > 0;
    fail(ErrorCode::kUnsupported, "{}: tensor \"{}\" is {}, which kernel table {} does not multiply; it knows {}{}",
         source.file_name(), printable(matrix.name), weight_format(format).name, kernels_.name,
         multiplied_formats(kernels_), on_cpu ? "; the CPU multiplies every format (--device cpu)" : "");
  }
  matrices_.insert(matrix.shape);
  return {.data = arena_.take_bytes(bytes), .is_dense = dense_bytes > 0};
}

void WeightPacker::fill(TensorSource& source, const SourceMatrix& matrix, const PackTarget& target) {
  const auto& [format, rows, cols] = matrix.shape;
  const std::byte* const blocks = source.blocks(matrix, exec_);
  if (target.is_dense) {
    kernels_.pack_dense(exec_, format, rows, cols, blocks, target.data);
  } else {
    kernels_.pack(exec_, format, rows, cols, blocks, target.data);
  }
  if (packed_bytes() - released_bytes_ >= kReleaseEvery) {
    source.release_pages();
    released_bytes_ = packed_bytes();
  }
  if (progress_) progress_(packed_bytes());
}

MatmulTuning WeightPacker::tuning_of(const MatrixShape& shape) const {
  const auto found = tunings_.find(shape);
  return found == tunings_.end() ? kernels_.usual_tuning : found->second;
}

const int32_t* WeightPacker::place_columns(const std::vector<int32_t>& columns) {
  if (columns.empty()) return nullptr;
  const auto [known, is_new] = columns_.try_emplace(columns);
  if (is_new) known->second = place(std::span(columns));
  return known->second;
}

}  // namespace quire
