// compressed-tensors, int8 weights and activations ("int-quantized"): weight [rows, cols] as it is, weight_scale
// [rows, 1]. Rows of activations are quantised as they come, each with its own scale.
#include <fmt/format.h>

#include "compress/layouts/compressed_tensors_config.h"
#include "compress/layouts/layout.h"

namespace quire {
namespace {

std::string refusal(const MatrixForm& form, int64_t, int64_t) {
  if (form.kind == MatrixKind::kCodes && form.grid.bits == 8 && form.grid.symmetric && form.grid.group == 0 &&
      !form.has_order)
    return {};
  return fmt::format("the layout w8a8 holds symmetric codes of 8 bits with a scale per row, not {}",
                     describe_form(form));
}

std::vector<PartTensor> declare(const MatrixForm&, int64_t rows, int64_t cols) {
  return {{.part = "weight", .format = Format::kI8, .shape = {rows, cols}},
          {.part = "weight_scale", .format = Format::kF16, .shape = {rows, 1}}};
}

std::vector<PartTensor> pack(const GroupMatrix& matrix) {
  std::vector<PartTensor> parts = declare(form_of(matrix), matrix.rows, matrix.cols);
  std::vector<uint8_t> codes = matrix.codes;
  for (uint8_t& code : codes) code ^= 128;  // less the zero point, modulo 256
  fill_part(parts, "weight", raw_bytes<uint8_t>(codes));
  fill_part(parts, "weight_scale", halves_of(matrix.scales));
  return parts;
}

json::object config(const MatrixForm& form, std::span<const std::string> plain_modules) {
  json::object made = compressed_tensors_config(
      {.format = "int-quantized",
       .weights = integer_weights(form),
       .activations = {{"num_bits", 8}, {"type", "int"}, {"symmetric", true}, {"strategy", "token"}, {"dynamic", true}},
       .plain_modules = plain_modules});
  if (!form.sparsity.empty()) {
    made["sparsity_config"] = {{"format", "dense"},
                               {"sparsity_structure", form.sparsity},
                               {"targets", json::array{}},
                               {"ignore", json::array{}}};
  }
  return made;
}

}  // namespace

const CompressedLayout kW8A8Layout = {
    .name = "w8a8", .refusal = refusal, .declare = declare, .pack = pack, .config = config};

}  // namespace quire
