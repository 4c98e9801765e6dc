// Norm and activation whose results go directly to packed rows (int8): only 256 floats exist at a time, in the
// first-level cache. math.h says how the files of this folder are used. The bits are those of rows.cpp followed by
// pack_rows.
#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/loops.h"
#include "kernels/vector/parts.h"
#include "kernels/vector/q8_rows.h"
#include "kernels/vector/row_parts.h"

namespace quire::QUIRE_TABLE {
namespace {

// Packs `count` floats of a row that start at column `first`, which is the start of a block.
inline void quantize_block(const float* x, int64_t first, int64_t count, std::byte* q8_row) {
  Q8Block& block = reinterpret_cast<Q8Block*>(q8_row)[first / kBlockColumns];
  if (count < kBlockColumns) block = {};
  for (int group = 0; group < count / kGroup; ++group) quantize_group(x + group * kGroup, group, block);
}

inline int64_t block_width(int64_t first, int64_t dim) {
  return dim - first < kBlockColumns ? dim - first : kBlockColumns;
}

// The order of the columns of a row; null: as they are.
const int32_t* columns_of(const RowsToPack& rows, int64_t row) {
  if (rows.num_experts == 0) return rows.columns;
  int expert = 0;
  while (rows.first[expert + 1] - rows.first[0] <= row) ++expert;
  return rows.expert_columns[expert];
}

void pack_row(const float* x, const int32_t* columns, int64_t cols, std::byte* packed) {
  for (int64_t k = 0; k < cols; k += kBlockColumns) {
    const int64_t count = block_width(k, cols);
    if (columns == nullptr) {
      quantize_block(x + k, k, count, packed);
      continue;
    }
    alignas(64) float strip[kBlockColumns];
    for (int64_t i = 0; i < count; ++i) strip[i] = x[columns[k + i]];
    quantize_block(strip, k, count, packed);
  }
}

void pack_rows(const Exec& exec, const RowsToPack& rows, std::byte* packed) {
  for_slices(exec, rows.num_rows, rows.cols, [=, &rows](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const int64_t from = rows.rows != nullptr ? rows.rows[row] : row;
      pack_row(rows.x + from * rows.cols, columns_of(rows, row), rows.cols,
               packed + static_cast<size_t>(row) * q8_bytes(rows.cols));
    }
  });
}

void rms_norm_packed(const Exec& exec, const RowNorm& norm, std::byte* packed) {
  for_slices(exec, norm.num_rows, norm.dim, [=](int64_t first, int64_t last) {
    const int64_t dim = norm.dim;
    for (int64_t row = first; row < last; ++row) {
      const float* in = norm.x + row * norm.x_stride;
      const Vec scale = set1(rms_scale(in, norm.eps, dim));
      for (int64_t k = 0; k < dim; k += kBlockColumns) {
        const int64_t count = block_width(k, dim);
        alignas(64) float strip[kBlockColumns];
        for (int64_t i = 0; i < count; i += kLanes) {
          store(strip + i, normed(in + k + i, scale, norm.weight + k + i, kLanes));
        }
        quantize_block(strip, k, count, packed + static_cast<size_t>(row) * q8_bytes(dim));
      }
    }
  });
}

// The blocks of a row are independent, so threads can divide long rows too.
void gated_activation_packed(const Exec& exec, const RowGate& gate, std::byte* packed) {
  const GateRow gate_row = gate_row_for(gate.kind);
  const int64_t blocks = divide_up(gate.dim, kBlockColumns);
  for_slices(exec, gate.num_rows * blocks, 2 * kBlockColumns, [=](int64_t first, int64_t last) {
    for (int64_t index = first; index < last; ++index) {
      const int64_t row = index / blocks;
      const int64_t k = index % blocks * kBlockColumns;
      const int64_t count = block_width(k, gate.dim);
      alignas(64) float strip[kBlockColumns];
      gate_row(gate.gate + row * gate.gate_stride + k, gate.up + row * gate.up_stride + k, count, strip);
      quantize_block(strip, k, count, packed + static_cast<size_t>(row) * q8_bytes(gate.dim));
    }
  });
}

}  // namespace

void override_packed_rows(Kernels& table) {
  table.packed_row_bytes = q8_bytes;
  table.pack_rows = pack_rows;
  table.rms_norm_packed = rms_norm_packed;
  table.gated_activation_packed = gated_activation_packed;
}

}  // namespace quire::QUIRE_TABLE
