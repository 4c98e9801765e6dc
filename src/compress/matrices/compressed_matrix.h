// What a method makes of a matrix, before a layout of files packs it: codes, E4M3 codes, or floats with zeros among
// them. Plain data.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "compress/matrices/float8_matrix.h"
#include "compress/matrices/group_matrix.h"
#include "tensor/format.h"

namespace quire {

struct PlainMatrix {
  Format format = Format::kF16;  // that it is written in
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<float> values = {};  // [rows, cols]
};

using CompressedMatrix = std::variant<GroupMatrix, Float8Matrix, PlainMatrix>;

enum class MatrixKind : uint8_t { kCodes, kFloat8, kFloats };  // GroupMatrix, Float8Matrix, PlainMatrix

// What all matrices of a checkpoint have in common.
struct MatrixForm {
  MatrixKind kind = MatrixKind::kCodes;
  GroupGrid grid = {};     // of codes
  bool has_order = false;  // GroupMatrix::groups are set (GPTQ's act-order without static groups)
  int64_t block_rows = 0;  // of Float8Matrix; 1: a scale for each row
  int64_t block_cols = 0;
  Format format = Format::kF16;  // of PlainMatrix; each matrix may have another
  std::string sparsity = {};     // of pruned weights, as compressed-tensors names it: "2:4", "unstructured"
};

// The matrix's values, out [rows, cols].
void dequantize(const Float8Matrix& matrix, std::span<float> out);
void dequantize(const CompressedMatrix& matrix, std::span<float> out);

}  // namespace quire
