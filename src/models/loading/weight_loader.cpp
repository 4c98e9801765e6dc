#include "models/loading/weight_loader.h"

#include <algorithm>

namespace quire {

Linear WeightLoader::linear(const MatrixRequest& request) {
  return packer_.pack(source_, source_.matrix(request), Layout::kDense);
}

Linear WeightLoader::expert_linear(const MatrixRequest& request) {
  return packer_.pack(source_, source_.matrix(request), Layout::kCommon);
}

Linear WeightLoader::router_linear(const MatrixRequest& request) {
  SourceMatrix matrix = source_.matrix(request);
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
  mapped_bytes_ += view.size_bytes;
  return {.table = {.format = view.format, .rows = rows, .cols = cols, .data = view.data}};
}

}  // namespace quire
