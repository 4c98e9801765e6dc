#include "compress/layouts/layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/error.h"
#include "tensor/half.h"

namespace quire {
namespace {

const CompressedLayout* const kLayouts[] = {
    &kGptqLayout, &kAwqLayout, &kCompressedTensorsLayout, &kW8A8Layout, &kFp8Layout, &kPlainLayout,
};

}  // namespace

std::span<const CompressedLayout* const> compressed_layouts() { return kLayouts; }

const CompressedLayout& compressed_layout(std::string_view name) {
  std::string known;
  for (const CompressedLayout* layout : kLayouts) {
    if (layout->name == name) return *layout;
    known += (known.empty() ? "" : ", ") + std::string(layout->name);
  }
  fail(ErrorCode::kInvalidArgument, "there is no layout '{}'; known are {}", printable(name), known);
}

MatrixForm form_of(const GroupMatrix& matrix) { return {.grid = matrix.grid, .has_order = !matrix.groups.empty()}; }

MatrixForm form_of(const Float8Matrix& matrix) {
  return {.kind = MatrixKind::kFloat8, .block_rows = matrix.block_rows, .block_cols = matrix.block_cols};
}

MatrixForm form_of(const PlainMatrix& matrix) { return {.kind = MatrixKind::kFloats, .format = matrix.format}; }

std::vector<PartTensor> pack(const CompressedLayout& layout, const CompressedMatrix& matrix) {
  if (const auto* codes = std::get_if<GroupMatrix>(&matrix)) {
    CHECK(layout.pack != nullptr);
    return layout.pack(*codes);
  }
  if (const auto* codes = std::get_if<Float8Matrix>(&matrix)) {
    CHECK(layout.pack_float8 != nullptr);
    return layout.pack_float8(*codes);
  }
  CHECK(layout.pack_floats != nullptr);
  return layout.pack_floats(std::get<PlainMatrix>(matrix));
}

std::vector<uint32_t> words_of(std::span<const uint8_t> codes, int bits) {
  const auto width = static_cast<size_t>(bits);
  std::vector<uint32_t> words((codes.size() * width + 31) / 32);
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t at = i * width;
    const uint64_t placed = uint64_t{codes[i]} << (at % 32);
    words[at / 32] |= static_cast<uint32_t>(placed);
    if (placed >> 32 != 0) words[at / 32 + 1] |= static_cast<uint32_t>(placed >> 32);
  }
  return words;
}

std::vector<uint32_t> lines_as_words(std::span<const uint8_t> codes, int64_t length, int bits) {
  std::vector<uint32_t> words;
  const auto size = static_cast<size_t>(length);
  for (size_t first = 0; first < codes.size(); first += size) {
    const std::vector<uint32_t> line = words_of(codes.subspan(first, size), bits);
    words.insert(words.end(), line.begin(), line.end());
  }
  return words;
}

std::vector<std::byte> halves_of(std::span<const float> values) {
  std::vector<uint16_t> halves(values.size());
  std::ranges::transform(values, halves.begin(), f32_to_f16);
  return raw_bytes(std::span<const uint16_t>(halves));
}

void fill_part(std::vector<PartTensor>& parts, std::string_view part, std::vector<std::byte> bytes) {
  const auto found = std::ranges::find(parts, part, &PartTensor::part);
  CHECK(found != parts.end());
  CHECK((DeclaredTensor{found->part, found->format, found->shape}.size_bytes()) == bytes.size());
  found->bytes = std::move(bytes);
}

json::array names_array(std::span<const std::string> names) {
  json::array array;
  for (const std::string& name : names) array.push_back(json::value(name));
  return array;
}

std::string describe_form(const MatrixForm& form) {
  if (form.kind == MatrixKind::kFloats) return fmt::format("{} floats", weight_format(form.format).name);
  if (form.kind == MatrixKind::kFloat8) {
    return fmt::format("E4M3 codes with a scale for {} rows and {} columns",
                       form.block_rows == 0 ? "all" : std::to_string(form.block_rows),
                       form.block_cols == 0 ? "all" : std::to_string(form.block_cols));
  }
  return fmt::format("{} bits, {}, {}{}", form.grid.bits, form.grid.symmetric ? "symmetric" : "with zero points",
                     form.grid.group == 0 ? "a scale per row" : fmt::format("groups of {} columns", form.grid.group),
                     form.has_order ? ", in activation order" : "");
}

}  // namespace quire
