// AWQ's tensors (AutoAWQ, "gemm"): codes of eight neighbouring rows in a word of qweight [cols, rows / 8], in the order
// 0 2 4 6 1 3 5 7; zero points likewise in qzeros [groups, rows / 8]; scales [groups, rows].
#include <fmt/format.h>

#include "compress/layouts/layout.h"

namespace quire {
namespace {

// The row of the n-th code of a word, low bits first.
constexpr size_t kOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};

std::string refusal(const MatrixForm& form, int64_t rows, int64_t cols) {
  if (form.kind != MatrixKind::kCodes || form.grid.bits != 4 || form.has_order) {
    return fmt::format("the layout awq holds codes of 4 bits in groups of neighbouring columns, not {}",
                       describe_form(form));
  }
  if (rows % 8 != 0) {
    return fmt::format("the layout awq holds matrices whose rows are a multiple of 8, not {} by {}", rows, cols);
  }
  return {};
}

std::vector<PartTensor> declare(const MatrixForm& form, int64_t rows, int64_t cols) {
  const int64_t groups = form.grid.num_groups(cols);
  return {{.part = "qweight", .format = Format::kI32, .shape = {cols, rows / 8}},
          {.part = "qzeros", .format = Format::kI32, .shape = {groups, rows / 8}},
          {.part = "scales", .format = Format::kF16, .shape = {groups, rows}}};
}

// Lines of [rows] codes.
std::vector<std::byte> interleaved_words(std::vector<uint8_t> codes) {
  std::vector<uint8_t> ordered(codes.size());
  for (size_t first = 0; first < codes.size(); first += 8) {
    for (size_t i = 0; i < 8; ++i) ordered[first + i] = codes[first + kOrder[i]];
  }
  return raw_bytes<uint32_t>(words_of(ordered, 4));
}

std::vector<PartTensor> pack(const GroupMatrix& matrix) {
  const int64_t rows = matrix.rows;
  const int64_t groups = matrix.num_groups();
  std::vector<PartTensor> parts = declare(form_of(matrix), rows, matrix.cols);
  fill_part(parts, "qweight", interleaved_words(transposed(std::span<const uint8_t>(matrix.codes), rows, matrix.cols)));
  fill_part(parts, "qzeros", interleaved_words(transposed(std::span<const uint8_t>(matrix.zeros), rows, groups)));
  fill_part(parts, "scales", halves_of(transposed(std::span<const float>(matrix.scales), rows, groups)));
  return parts;
}

json::object config(const MatrixForm& form, std::span<const std::string> plain_modules) {
  return {{"quant_method", "awq"},
          {"bits", form.grid.bits},
          {"group_size", form.grid.group == 0 ? int64_t{-1} : form.grid.group},
          {"zero_point", true},
          {"version", "gemm"},
          {"modules_to_not_convert", names_array(plain_modules)}};
}

}  // namespace

const CompressedLayout kAwqLayout = {
    .name = "awq", .refusal = refusal, .declare = declare, .pack = pack, .config = config};

}  // namespace quire
