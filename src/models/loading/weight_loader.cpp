#include "models/loading/weight_loader.h"

#include <algorithm>

#include "base/error.h"

namespace quire {

LayerRange WeightLoader::stage(int num_layers) const {
  const LayerRange stage = wanted_.stage.value_or(LayerRange{.first = 0, .last = num_layers});
  if (stage.first < 0 || stage.first >= stage.last || stage.last > num_layers) {
    fail(ErrorCode::kInvalidArgument, "{}: layers {} to {} were asked of a model with {}", source_.file_name(),
         stage.first, stage.last - 1, num_layers);
  }
  return stage;
}

MatrixRequest WeightLoader::as_wanted(const MatrixRequest& request) const {
  MatrixRequest wanted = request;
  if (!wanted_.format) return wanted;
  const Format format = format_that_divides(*wanted_.format, request.cols);
  // A matrix that no format of blocks divides stays as it is: F16 could not hold all values of BF16.
  if (format == *wanted_.format || weight_format(format).block_elements > 1) wanted.format = format;
  return wanted;
}

Linear WeightLoader::linear(const MatrixRequest& request) {
  const SourceMatrix matrix = source_.matrix(as_wanted(request));
  if (const Linear* const packed = source_.packed(request.name)) return *packed;
  return packer_.pack(source_, matrix, Layout::kDense);
}

Linear WeightLoader::expert_linear(const MatrixRequest& request) {
  return packer_.pack(source_, source_.matrix(as_wanted(request)), Layout::kCommon);
}

Linear WeightLoader::router_linear(const MatrixRequest& request) {
  const bool wants_floats = wanted_.format == Format::kF32;
  SourceMatrix matrix = source_.matrix(wants_floats ? as_wanted(request) : request);
  Format& format = matrix.shape.format;
  if (matrix.is_plain() && weight_format(format).block_elements == 1 && kernels_.takes_packed(format)) {
    format = Format::kF32;
  }
  return packer_.pack(source_, matrix, Layout::kCommon);
}

std::vector<float> WeightLoader::floats(std::string_view name, int64_t size) {
  const TensorView view = source_.plain_tensor(name, {size});
  std::vector<float> values(static_cast<size_t>(size));
  if (!packer_.counts_only()) dequantize(view, values);
  return values;
}

const float* WeightLoader::bias(std::string_view name, int64_t rows, Partition partition) {
  const std::vector<float> values = floats(name, rows);
  const RankShare share = source_.share();
  if (partition == Partition::kColumns && share.rank > 0) return nullptr;
  const bool is_divided = partition == Partition::kRows;
  return place(std::span(values).subspan(static_cast<size_t>(is_divided ? share.first_of(rows) : 0),
                                         static_cast<size_t>(is_divided ? share.of(rows) : rows)));
}

Norm WeightLoader::norm(std::string_view name, int64_t dim, float eps, float offset) {
  std::vector<float> values = floats(name, dim);
  if (offset != 0.0f) std::ranges::for_each(values, [offset](float& value) { value = offset + value; });
  return {.weight = place(std::span<const float>(values)), .eps = eps, .dim = dim};
}

Embedding WeightLoader::embedding(const std::string& name, int64_t rows, int64_t cols, const Linear* same) {
  const TensorView view = source_.table(name, rows, cols);
  if (!kernels_.embeds_file_rows)
    return {.table = same != nullptr ? same->weights : linear({name, rows, cols}).weights};
  if (!source_.is_of_another(name)) mapped_bytes_ += view.size_bytes;
  return {.table = {.format = view.format, .rows = rows, .cols = cols, .data = view.data}};
}

}  // namespace quire
