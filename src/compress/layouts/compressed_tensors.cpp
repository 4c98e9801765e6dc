// compressed-tensors, weights only ("pack-quantized"): weight_packed [rows, cols * bits / 32], codes along the columns;
// weight_scale [rows, groups]; weight_shape; zero points packed along the rows, [rows * bits / 32, groups], where the
// grid has them; weight_g_idx in activation order.
#include <fmt/format.h>

#include "compress/layouts/compressed_tensors_config.h"
#include "compress/layouts/layout.h"

namespace quire {
namespace {

int64_t words_for(int64_t codes, int64_t bits) { return (codes * bits + 31) / 32; }

std::string refusal(const MatrixForm& form, int64_t, int64_t) {
  if (form.kind == MatrixKind::kCodes && (form.grid.bits == 4 || form.grid.bits == 8)) return {};
  return fmt::format("the layout compressed-tensors holds codes of 4 or 8 bits, not {}", describe_form(form));
}

std::vector<PartTensor> declare(const MatrixForm& form, int64_t rows, int64_t cols) {
  const int64_t groups = form.grid.num_groups(cols);
  const int64_t bits = form.grid.bits;
  std::vector<PartTensor> parts = {
      {.part = "weight_packed", .format = Format::kI32, .shape = {rows, words_for(cols, bits)}},
      {.part = "weight_scale", .format = Format::kF16, .shape = {rows, groups}},
      {.part = "weight_shape", .format = Format::kI64, .shape = {2}}};
  if (!form.grid.symmetric) {
    parts.push_back({.part = "weight_zero_point", .format = Format::kI32, .shape = {words_for(rows, bits), groups}});
  }
  if (form.has_order) parts.push_back({.part = "weight_g_idx", .format = Format::kI32, .shape = {cols}});
  return parts;
}

std::vector<PartTensor> pack(const GroupMatrix& matrix) {
  const int64_t rows = matrix.rows;
  const int64_t groups = matrix.num_groups();
  const int bits = matrix.grid.bits;
  std::vector<PartTensor> parts = declare(form_of(matrix), rows, matrix.cols);
  fill_part(parts, "weight_packed", raw_bytes<uint32_t>(lines_as_words(matrix.codes, matrix.cols, bits)));
  fill_part(parts, "weight_scale", halves_of(matrix.scales));
  fill_part(parts, "weight_shape", raw_bytes<int64_t>(std::vector<int64_t>{rows, matrix.cols}));
  if (!matrix.grid.symmetric) {
    const std::vector<uint8_t> by_group = transposed(std::span<const uint8_t>(matrix.zeros), rows, groups);
    const std::vector<uint32_t> words = lines_as_words(by_group, rows, bits);
    fill_part(parts, "weight_zero_point",
              raw_bytes<uint32_t>(transposed(std::span<const uint32_t>(words), groups, words_for(rows, bits))));
  }
  if (!matrix.groups.empty()) fill_part(parts, "weight_g_idx", raw_bytes<int32_t>(matrix.groups));
  return parts;
}

json::object config(const MatrixForm& form, std::span<const std::string> plain_modules) {
  return compressed_tensors_config({.format = "pack-quantized",
                                    .weights = integer_weights(form),
                                    .activations = nullptr,
                                    .plain_modules = plain_modules});
}

}  // namespace

const CompressedLayout kCompressedTensorsLayout = {
    .name = "compressed-tensors", .refusal = refusal, .declare = declare, .pack = pack, .config = config};

}  // namespace quire
