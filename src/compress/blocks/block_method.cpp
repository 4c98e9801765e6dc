#include "compress/blocks/block_method.h"

#include <algorithm>

#include "base/check.h"
#include "compress/blocks/block_search.h"

namespace quire {
namespace {

// What each column counts in the search. One that was never seen still counts a little.
std::vector<float> search_weights(std::span<const float> importance, int64_t cols) {
  std::vector<float> weights(static_cast<size_t>(cols), 1.0f);
  double total = 0;
  for (const float value : importance) total += value;
  if (total == 0) return weights;
  const auto least = static_cast<float>(1e-6 * total / static_cast<double>(cols));
  for (size_t c = 0; c < weights.size(); ++c) weights[c] = std::max(importance[c], least);
  return weights;
}

void quantize_row(const WeightFormat& format, PackBlock pack, std::span<const float> row,
                  std::span<const float> weights, std::byte* blocks) {
  const auto elements = static_cast<size_t>(format.block_elements);
  for (size_t first = 0; first < row.size(); first += elements) {
    BlockParts parts;
    search_block(format.format, row.data() + first, weights.data() + first, parts);
    pack(parts, blocks + format.bytes_of(static_cast<int64_t>(first)));
  }
}

}  // namespace

std::vector<float> importance_of(const InputStatistics& statistics) {
  std::vector<float> importance(static_cast<size_t>(statistics.cols), 1.0f);
  if (statistics.num_rows == 0) return importance;
  CHECK(statistics.square_sums.size() == importance.size());
  const auto count = static_cast<float>(statistics.num_rows);
  for (size_t c = 0; c < importance.size(); ++c) importance[c] = statistics.square_sums[c] / count;
  return importance;
}

std::vector<std::byte> quantize_blocks(Format format, MatrixRows matrix, std::span<const float> importance,
                                       ThreadPool& pool) {
  const WeightFormat& row_of_format = weight_format(format);
  CHECK(row_of_format.quantize != nullptr && matrix.cols % row_of_format.block_elements == 0);
  CHECK(importance.empty() || static_cast<int64_t>(importance.size()) == matrix.cols);
  const size_t row_bytes = row_of_format.bytes_of(matrix.cols);
  const PackBlock pack = block_packer(format);
  const std::vector<float> weights = search_weights(importance, matrix.cols);
  std::vector<std::byte> blocks(row_bytes * static_cast<size_t>(matrix.num_rows()));
  pool.parallel_for(matrix.num_rows(), [&](int64_t row, int) {
    std::byte* const out = blocks.data() + row_bytes * static_cast<size_t>(row);
    if (pack == nullptr) {
      row_of_format.quantize(matrix.row(row).data(), out, matrix.cols);
    } else {
      quantize_row(row_of_format, pack, matrix.row(row), weights, out);
    }
  });
  return blocks;
}

double weighted_error(Format format, MatrixRows matrix, std::span<const float> importance,
                      std::span<const std::byte> blocks, ThreadPool& pool) {
  const WeightFormat& row_of_format = weight_format(format);
  const size_t row_bytes = row_of_format.bytes_of(matrix.cols);
  const auto cols = static_cast<size_t>(matrix.cols);
  CHECK(blocks.size() == row_bytes * static_cast<size_t>(matrix.num_rows()));
  std::vector<float> values(cols * static_cast<size_t>(pool.num_threads()));
  std::vector<double> errors(static_cast<size_t>(matrix.num_rows()));
  pool.parallel_for(matrix.num_rows(), [&](int64_t row, int thread) {
    const std::span out = std::span(values).subspan(cols * static_cast<size_t>(thread), cols);
    row_of_format.dequantize(blocks.data() + row_bytes * static_cast<size_t>(row), out.data(), matrix.cols);
    const std::span<const float> in = matrix.row(row);
    double error = 0;
    for (size_t c = 0; c < cols; ++c) {
      const double difference = double{in[c]} - out[c];
      error += (importance.empty() ? 1.0 : importance[c]) * difference * difference;
    }
    errors[static_cast<size_t>(row)] = error;
  });
  double sum = 0;
  for (const double error : errors) sum += error;
  return sum;
}

}  // namespace quire
