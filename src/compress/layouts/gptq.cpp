// GPTQ's tensors (AutoGPTQ, GPTQModel): qweight [cols * bits / 32, rows], codes along the columns; qzeros [groups, rows
// * bits / 32]; scales [groups, rows]; g_idx, the group of every column. The first form of the checkpoint ("gptq")
// keeps zero points less one, which takes a borrow for a zero point of 0 and is not defined alike for three bits: it is
// used for symmetric grids, which have neither, and the second ("gptq_v2") for the others.
#include <fmt/format.h>

#include <algorithm>

#include "compress/layouts/layout.h"

namespace quire {
namespace {

bool is_first_form(const GroupGrid& grid) { return grid.symmetric && grid.bits != 3; }

std::string refusal(const MatrixForm& form, int64_t rows, int64_t cols) {
  const int bits = form.grid.bits;
  const bool has_bits = bits == 2 || bits == 3 || bits == 4 || bits == 8;
  if (form.kind != MatrixKind::kCodes || !has_bits) {
    return fmt::format("the layout gptq holds codes of 2, 3, 4 or 8 bits, not {}", describe_form(form));
  }
  const int64_t multiple = bits == 3 ? 32 : 32 / bits;
  if (rows % multiple != 0 || cols % multiple != 0) {
    return fmt::format(
        "the layout gptq holds matrices whose rows and columns are multiples of {} at {} bits, not {} by {}", multiple,
        bits, rows, cols);
  }
  return {};
}

std::vector<PartTensor> declare(const MatrixForm& form, int64_t rows, int64_t cols) {
  const int64_t groups = form.grid.num_groups(cols);
  const int64_t bits = form.grid.bits;
  return {{.part = "qweight", .format = Format::kI32, .shape = {cols * bits / 32, rows}},
          {.part = "qzeros", .format = Format::kI32, .shape = {groups, rows * bits / 32}},
          {.part = "scales", .format = Format::kF16, .shape = {groups, rows}},
          {.part = "g_idx", .format = Format::kI32, .shape = {cols}}};
}

std::vector<PartTensor> pack(const GroupMatrix& matrix) {
  const int64_t rows = matrix.rows;
  const int64_t cols = matrix.cols;
  const int64_t groups = matrix.num_groups();
  const int bits = matrix.grid.bits;
  std::vector<PartTensor> parts = declare(form_of(matrix), rows, cols);
  const std::vector<uint32_t> words = lines_as_words(matrix.codes, cols, bits);
  fill_part(parts, "qweight",
            raw_bytes<uint32_t>(transposed(std::span<const uint32_t>(words), rows, cols * bits / 32)));
  std::vector<uint8_t> zeros = transposed(std::span<const uint8_t>(matrix.zeros), rows, groups);
  if (is_first_form(matrix.grid)) {
    for (uint8_t& zero : zeros) --zero;
  }
  fill_part(parts, "qzeros", raw_bytes<uint32_t>(lines_as_words(zeros, rows, bits)));
  fill_part(parts, "scales", halves_of(transposed(std::span<const float>(matrix.scales), rows, groups)));
  std::vector<int32_t> index(static_cast<size_t>(cols));
  for (int64_t c = 0; c < cols; ++c) index[static_cast<size_t>(c)] = static_cast<int32_t>(matrix.group_of(c));
  fill_part(parts, "g_idx", raw_bytes<int32_t>(index));
  return parts;
}

json::object config(const MatrixForm& form, std::span<const std::string> plain_modules) {
  json::object config{{"quant_method", "gptq"},
                      {"bits", form.grid.bits},
                      {"group_size", form.grid.group == 0 ? int64_t{-1} : form.grid.group},
                      {"desc_act", form.has_order},
                      {"sym", form.grid.symmetric},
                      {"lm_head", std::ranges::find(plain_modules, "lm_head") == plain_modules.end()},
                      {"checkpoint_format", is_first_form(form.grid) ? "gptq" : "gptq_v2"},
                      {"pack_dtype", "int32"}};
  json::object left_out;  // by expressions of module names
  for (const std::string& module : plain_modules) {
    if (module != "lm_head") left_out["-:^" + module + "$"] = json::object{};
  }
  if (!left_out.empty()) config["dynamic"] = std::move(left_out);
  return config;
}

}  // namespace

const CompressedLayout kGptqLayout = {
    .name = "gptq", .refusal = refusal, .declare = declare, .pack = pack, .config = config};

}  // namespace quire
