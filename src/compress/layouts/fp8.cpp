// compressed-tensors, E4M3 ("float-quantized"): weight [rows, cols] and weight_scale: [1] of the whole matrix, [rows,
// 1], or one for each block of rows and columns. Rows of activations are quantised as they come.
#include <fmt/format.h>

#include "compress/layouts/compressed_tensors_config.h"
#include "compress/layouts/layout.h"

namespace quire {
namespace {

bool is_per_tensor(const MatrixForm& form) { return form.block_rows == 0 && form.block_cols == 0; }
bool is_per_row(const MatrixForm& form) { return form.block_rows == 1 && form.block_cols == 0; }

std::string refusal(const MatrixForm& form, int64_t, int64_t) {
  const bool has_blocks = form.block_rows > 0 && form.block_cols > 0;
  if (form.kind == MatrixKind::kFloat8 && (is_per_tensor(form) || is_per_row(form) || has_blocks)) return {};
  return fmt::format("the layout fp8 holds E4M3 codes with a scale per matrix, row or block, not {}",
                     describe_form(form));
}

std::vector<PartTensor> declare(const MatrixForm& form, int64_t rows, int64_t cols) {
  std::vector<int64_t> scales = {1};
  if (is_per_row(form)) scales = {rows, 1};
  if (form.block_cols > 0) {
    scales = {(rows + form.block_rows - 1) / form.block_rows, (cols + form.block_cols - 1) / form.block_cols};
  }
  return {{.part = "weight", .format = Format::kF8_E4M3, .shape = {rows, cols}},
          {.part = "weight_scale", .format = Format::kF32, .shape = std::move(scales)}};
}

std::vector<PartTensor> pack(const Float8Matrix& matrix) {
  std::vector<PartTensor> parts = declare(form_of(matrix), matrix.rows, matrix.cols);
  fill_part(parts, "weight", raw_bytes<uint8_t>(matrix.codes));
  fill_part(parts, "weight_scale", raw_bytes<float>(matrix.scales));
  return parts;
}

json::object config(const MatrixForm& form, std::span<const std::string> plain_modules) {
  json::object weights{{"num_bits", 8}, {"type", "float"}, {"symmetric", true}, {"dynamic", false}};
  json::object activations{{"num_bits", 8}, {"type", "float"}, {"symmetric", true}, {"dynamic", true}};
  activations["strategy"] = "token";
  weights["strategy"] = is_per_tensor(form) ? "tensor" : "channel";
  if (form.block_cols > 0) {
    weights["strategy"] = "block";
    weights["block_structure"] = json::array{form.block_rows, form.block_cols};
    activations["strategy"] = "group";
    activations["group_size"] = form.block_cols;
  }
  return compressed_tensors_config({.format = "float-quantized",
                                    .weights = std::move(weights),
                                    .activations = std::move(activations),
                                    .plain_modules = plain_modules});
}

}  // namespace

const CompressedLayout kFp8Layout = {
    .name = "fp8", .refusal = refusal, .declare = declare, .pack_float8 = pack, .config = config};

}  // namespace quire
