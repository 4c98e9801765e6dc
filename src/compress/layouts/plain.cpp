// Floats as any checkpoint keeps them: weight [rows, cols] in the original's format. No quantization_config. For
// matrices that were pruned.
#include <fmt/format.h>

#include "compress/layouts/layout.h"

namespace quire {
namespace {

std::string refusal(const MatrixForm& form, int64_t, int64_t) {
  if (form.kind == MatrixKind::kFloats) return {};
  return fmt::format("the layout plain holds floats, not {}", describe_form(form));
}

std::vector<PartTensor> declare(const MatrixForm& form, int64_t rows, int64_t cols) {
  return {{.part = "weight", .format = form.format, .shape = {rows, cols}}};
}

std::vector<PartTensor> pack(const PlainMatrix& matrix) {
  std::vector<PartTensor> parts = declare(form_of(matrix), matrix.rows, matrix.cols);
  std::vector<std::byte> bytes(weight_format(matrix.format).bytes_of(matrix.rows * matrix.cols));
  weight_format(matrix.format).quantize(matrix.values.data(), bytes.data(), matrix.rows * matrix.cols);
  fill_part(parts, "weight", std::move(bytes));
  return parts;
}

json::object config(const MatrixForm&, std::span<const std::string>) { return {}; }

}  // namespace

const CompressedLayout kPlainLayout = {
    .name = "plain", .refusal = refusal, .declare = declare, .pack_floats = pack, .config = config};

}  // namespace quire
