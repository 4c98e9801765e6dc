#include "models/loading/quantization/matrix.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "tensor/float8.h"
#include "tensor/formats/blocks.h"
#include "tensor/half.h"

namespace quire {
namespace {

constexpr uint8_t kMiddle = 128;  // the code of eight bits that means zero

// Whether every `run` columns from a multiple of it share a group, and fill the width.
bool is_uniform(const std::vector<int32_t>& groups, size_t run) {
  if (groups.size() % run != 0) return false;
  for (size_t i = 0; i < groups.size(); ++i) {
    if (groups[i] != groups[i / run * run]) return false;
  }
  return true;
}

// Codes of one row, in the order of the blocks, with their scales and zero points.
struct RowCodes {
  const IntegerCodes& matrix;
  int64_t row;
  const uint8_t* codes;

  int64_t num_blocks(int elements) const { return static_cast<int64_t>(matrix.groups.size()) / elements; }
  int32_t group_at(int64_t column) const { return matrix.groups[static_cast<size_t>(column)]; }
  uint16_t scale_at(int64_t column) const { return f32_to_f16(matrix.scales.at(row, group_at(column))); }
};

template <int kElements>
void write_i4(const RowCodes& row, std::byte* dst) {
  auto* block = reinterpret_cast<BlockI4<kElements>*>(dst);
  for (int64_t b = 0; b < row.num_blocks(kElements); ++b, ++block) {
    block->d = row.scale_at(b * kElements);
    block->zero = static_cast<uint8_t>(row.matrix.zero(row.row, row.group_at(b * kElements)));
    block->unused = 0;
    const uint8_t* codes = row.codes + b * kElements;
    for (int g = 0; g < kElements / 32; ++g) {
      for (int i = 0; i < 16; ++i) {
        block->q[16 * g + i] = static_cast<uint8_t>(codes[32 * g + i] | (codes[32 * g + 16 + i] << 4));
      }
    }
  }
}

template <typename Block>
void write_i8(const RowCodes& row, std::byte* dst) {
  auto* block = reinterpret_cast<Block*>(dst);
  for (int64_t b = 0; b < row.num_blocks(Block::kElements); ++b, ++block) {
    block->d = row.scale_at(b * Block::kElements);
    const uint8_t* codes = row.codes + b * Block::kElements;
    for (int i = 0; i < Block::kElements; ++i) block->q[i] = static_cast<int8_t>(codes[i] - 128);
  }
}

void write_s8(const RowCodes& row, std::byte* dst) {
  auto* block = reinterpret_cast<BlockS8*>(dst);
  for (int64_t b = 0; b < row.num_blocks(BlockS8::kElements); ++b, ++block) {
    *block = {.d = row.scale_at(b * BlockS8::kElements), .kept = {}, .q = {}};
    const uint8_t* codes = row.codes + b * BlockS8::kElements;
    int next = 0;
    for (int i = 0; i < BlockS8::kElements; ++i) {
      if (codes[i] == kMiddle) continue;
      CHECK(next < BlockS8::kKept);
      block->kept[i / 16] = static_cast<uint16_t>(block->kept[i / 16] | (1 << (i % 16)));
      block->q[next++] = static_cast<int8_t>(codes[i] - kMiddle);
    }
  }
}

// Whether every block of S8_G64 has room for its codes.
bool is_sparse(const IntegerCodes& codes, int64_t rows) {
  constexpr int64_t kRowsAtATime = 64;
  const auto cols = static_cast<int64_t>(codes.groups.size());
  std::vector<uint8_t> bytes(static_cast<size_t>(kRowsAtATime * cols));
  for (int64_t row = 0; row < rows; row += kRowsAtATime) {
    const int64_t count = std::min(kRowsAtATime, rows - row);
    codes.read(row, count, nullptr, bytes.data());
    for (const uint8_t* at = bytes.data(); at < bytes.data() + count * cols; at += BlockS8::kElements) {
      if (BlockS8::kElements - std::count(at, at + BlockS8::kElements, kMiddle) > BlockS8::kKept) return false;
    }
  }
  return true;
}

void write_floats(const RowCodes& row, std::byte* dst) {
  for (size_t i = 0; i < row.matrix.groups.size(); ++i) {
    const int32_t group = row.matrix.groups[i];
    const auto code = static_cast<float>(row.codes[i] - row.matrix.zero(row.row, group));
    const float value = row.matrix.scales.at(row.row, group) * code;
    std::memcpy(dst + i * sizeof value, &value, sizeof value);
  }
}

using WriteRow = void (*)(const RowCodes& row, std::byte* dst);

struct BlockChoice {
  Format format;
  WriteRow write;
};

BlockChoice choose_blocks(const IntegerCodes& codes, int64_t rows) {
  const bool four = codes.bits == 4;
  if (codes.may_be_sparse && !four && codes.zero_is_middle && is_uniform(codes.groups, BlockS8::kElements) &&
      is_sparse(codes, rows)) {
    return {Format::kS8_G64, write_s8};
  }
  if ((four || codes.zero_is_middle) && is_uniform(codes.groups, 128)) {
    return four ? BlockChoice{Format::kI4_G128, write_i4<128>} : BlockChoice{Format::kI8_G128, write_i8<BlockI8>};
  }
  if ((four || codes.zero_is_middle) && is_uniform(codes.groups, 32)) {
    return four ? BlockChoice{Format::kI4_G32, write_i4<32>} : BlockChoice{Format::kQ8_0, write_i8<BlockQ8_0>};
  }
  return {Format::kF32, write_floats};
}

std::string format_names(std::initializer_list<Format> formats) {
  std::string names;
  for (const Format format : formats) names += (names.empty() ? "" : " or ") + std::string(weight_format(format).name);
  return names;
}

}  // namespace

void QuantizedModule::refuse(std::string_view part, const std::string& found, const std::string& expected) const {
  fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" {}, expected {} for a matrix of {} rows and {} columns",
       checkpoint_.name(), printable(tensor_name(part)), found, expected, rows_, cols_);
}

TensorView QuantizedModule::get(std::string_view part, Format format, std::initializer_list<int64_t> shape) const {
  const TensorView view = get(part);
  if (view.format != format) {
    refuse(part, std::string("is ") + weight_format(view.format).name, format_names({format}));
  }
  check_shape(part, view, shape);
  return view;
}

TensorView QuantizedModule::get_floats(std::string_view part) const {
  const TensorView view = get(part);
  if (view.format != Format::kF32 && view.format != Format::kF16 && view.format != Format::kBF16) {
    refuse(part, std::string("is ") + weight_format(view.format).name,
           format_names({Format::kF32, Format::kF16, Format::kBF16}));
  }
  return view;
}

void QuantizedModule::check_shape(std::string_view part, const TensorView& view,
                                  std::initializer_list<int64_t> shape) const {
  const std::span<const int64_t> expected(shape.begin(), shape.size());
  if (std::ranges::equal(view.dimensions(), expected)) return;
  refuse(part, "has the shape " + shape_text(view.dimensions()), shape_text(expected));
}

int32_t int32_at(const TensorView& view, int64_t index) {
  int32_t value = 0;
  std::memcpy(&value, view.data + index * 4, sizeof value);
  return value;
}

float float_at(const TensorView& view, int64_t index) {
  const WeightFormat& format = weight_format(view.format);
  float value = 0;
  format.dequantize(view.data + index * format.block_bytes, &value, 1);
  return value;
}

uint64_t spread_nibbles(uint32_t word) {
  uint64_t x = word;
  x = (x | (x << 16)) & 0x0000ffff0000ffffu;
  x = (x | (x << 8)) & 0x00ff00ff00ff00ffu;
  return (x | (x << 4)) & 0x0f0f0f0f0f0f0f0fu;
}

std::vector<int32_t> even_groups(int64_t cols, int64_t size) {
  std::vector<int32_t> groups(static_cast<size_t>(cols));
  for (int64_t c = 0; c < cols; ++c) groups[static_cast<size_t>(c)] = static_cast<int32_t>(c / size);
  return groups;
}

QuantizedMatrix matrix_of(const QuantizedModule& module, IntegerCodes codes, const std::byte* identity) {
  std::vector<int32_t> order(codes.groups.size());
  std::iota(order.begin(), order.end(), 0);
  BlockChoice choice = choose_blocks(codes, module.rows());
  bool ordered = false;
  if (choice.format == Format::kF32) {
    // Act-order: a group's columns may be anywhere. Sorted by group they may fill whole blocks.
    std::vector<int32_t> by_group = order;
    std::ranges::stable_sort(by_group, {}, [&](int32_t c) { return codes.groups[static_cast<size_t>(c)]; });
    IntegerCodes sorted = codes;
    std::ranges::sort(sorted.groups);
    const BlockChoice sorted_choice = choose_blocks(sorted, module.rows());
    ordered = sorted_choice.format != Format::kF32;
    if (ordered) {
      choice = sorted_choice;
      codes.groups = std::move(sorted.groups);
      order = std::move(by_group);
    }
  }
  std::vector<int32_t> place(ordered ? order.size() : 0);
  for (size_t i = 0; i < place.size(); ++i) place[static_cast<size_t>(order[i])] = static_cast<int32_t>(i);

  const int64_t cols = module.cols();
  const size_t row_bytes = weight_format(choice.format).bytes_of(cols);
  auto write_rows = [codes = std::make_shared<const IntegerCodes>(std::move(codes)), place = std::move(place), cols,
                     row_bytes, write = choice.write](int64_t first_row, int64_t num_rows, std::byte* dst) {
    const auto bytes = std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(num_rows * cols));
    codes->read(first_row, num_rows, place.empty() ? nullptr : place.data(), bytes.get());
    for (int64_t i = 0; i < num_rows; ++i) {
      write({*codes, first_row + i, bytes.get() + i * cols}, dst + static_cast<size_t>(i) * row_bytes);
    }
  };
  if (!ordered) order.clear();
  return {choice.format, module.rows(), cols, identity, std::move(order), std::move(write_rows)};
}

QuantizedMatrix matrix_of_f8(const QuantizedModule& module, const TensorView& codes, ScaleTable scales,
                             std::vector<int32_t> groups) {
  const int64_t cols = module.cols();
  const bool blocks = is_uniform(groups, BlockF8::kElements);
  auto write_rows = [codes, scales, groups = std::move(groups), cols, blocks](int64_t first_row, int64_t num_rows,
                                                                              std::byte* dst) {
    for (int64_t row = first_row; row < first_row + num_rows; ++row) {
      const auto* q = reinterpret_cast<const uint8_t*>(codes.row(row));
      if (!blocks) {
        for (int64_t c = 0; c < cols; ++c, dst += sizeof(float)) {
          const float value = scales.at(row, groups[static_cast<size_t>(c)]) * e4m3_to_f32(q[c]);
          std::memcpy(dst, &value, sizeof value);
        }
        continue;
      }
      for (int64_t c = 0; c < cols; c += BlockF8::kElements, dst += sizeof(BlockF8)) {
        BlockF8 block = {.d = scales.at(row, groups[static_cast<size_t>(c)]), .q = {}};
        std::memcpy(block.q, q + c, sizeof block.q);
        std::memcpy(dst, &block, sizeof block);
      }
    }
  };
  return {blocks ? Format::kF8_G128 : Format::kF32, module.rows(), cols, codes.data, {}, std::move(write_rows)};
}

QuantizedMatrix matrix_of_mxfp4(const QuantizedModule& module, const TensorView& pairs, const TensorView& scales) {
  const int64_t cols = module.cols();
  auto write_rows = [pairs, scales, cols](int64_t first_row, int64_t num_rows, std::byte* dst) {
    auto* block = reinterpret_cast<BlockMXFP4*>(dst);
    for (int64_t row = first_row; row < first_row + num_rows; ++row) {
      const auto* q = reinterpret_cast<const uint8_t*>(pairs.row(row));
      const auto* e = reinterpret_cast<const uint8_t*>(scales.row(row));
      const auto code = [q](int64_t column) { return (q[column / 2] >> (column % 2 * 4)) & 15; };
      for (int64_t c = 0; c < cols; c += 32, ++block) {
        block->e = e[c / 32];
        for (int64_t i = 0; i < 16; ++i) block->q[i] = static_cast<uint8_t>(code(c + i) | (code(c + i + 16) << 4));
      }
    }
  };
  return {Format::kMXFP4, module.rows(), cols, pairs.data, {}, std::move(write_rows)};
}

}  // namespace quire
