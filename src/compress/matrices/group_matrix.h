// A matrix as integer codes with a scale and a zero point for each group of columns of a row: what round-to-nearest,
// GPTQ and AWQ make, before a layout of files packs it. Plain data.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quire {

struct GroupGrid {
  int bits = 4;           // 2 to 8
  int64_t group = 128;    // columns that share a scale; 0: a whole row
  bool symmetric = true;  // the zero point is 2^(bits - 1) everywhere

  int num_codes() const { return 1 << bits; }
  int64_t group_columns(int64_t cols) const { return group == 0 ? cols : group; }
  int64_t num_groups(int64_t cols) const { return cols / group_columns(cols); }
};

// Element (r, c) is scale * (code - zero), with the scale and the zero point of row r and of the group of column c.
struct GroupMatrix {
  int64_t rows = 0;
  int64_t cols = 0;  // a multiple of the grid's group
  GroupGrid grid;
  std::vector<uint8_t> codes = {};   // [rows, cols]
  std::vector<float> scales = {};    // [rows, num_groups], values that f16 can hold
  std::vector<uint8_t> zeros = {};   // [rows, num_groups]
  std::vector<int32_t> groups = {};  // [cols] the group of each column (GPTQ with act-order); empty: column / group

  int64_t num_groups() const { return grid.num_groups(cols); }
  int64_t group_of(int64_t col) const {
    return groups.empty() ? col / grid.group_columns(cols) : groups[static_cast<size_t>(col)];
  }
};

// The matrix's values, out [rows, cols].
void dequantize(const GroupMatrix& matrix, std::span<float> out);

}  // namespace quire
