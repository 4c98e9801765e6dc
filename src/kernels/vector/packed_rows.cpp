// Packed rows of every kind of activations, and norm and activation whose results go directly to them: only 256 floats
// exist at a time, in the first-level cache. math.h says how the files of this folder are used. The bits are those of
// rows.cpp followed by pack_rows.
#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/float_rows.h"
#include "kernels/vector/loops.h"
#include "kernels/vector/parts.h"
#include "kernels/vector/q8_rows.h"
#include "kernels/vector/row_parts.h"

namespace quire::QUIRE_TABLE {
namespace {

// Each kind of rows has its size and put(): packs `count` floats of a row that start at column `first`, which is the
// start of a block.
struct Q8Rows {
  static size_t bytes(int64_t cols) { return q8_bytes(cols); }
  static void put(const float* x, int64_t first, int64_t count, std::byte* row) {
    Q8Block& block = reinterpret_cast<Q8Block*>(row)[first / kBlockColumns];
    if (count < kBlockColumns) block = {};
    for (int group = 0; group < count / kGroup; ++group) quantize_group(x + group * kGroup, group, block);
  }
};
struct Bf16Rows {
  static size_t bytes(int64_t cols) { return bf16_row_bytes(cols); }
  static void put(const float* x, int64_t first, int64_t count, std::byte* row) {
    auto* const to = reinterpret_cast<uint16_t*>(row) + first;
    for (int64_t i = 0; i < divide_up(count, kGroup) * kGroup; i += kLanes) {
      const int64_t left = count - i;
      store_bf16(to + i, left >= kLanes ? load(x + i) : left > 0 ? load_first(x + i, static_cast<int>(left)) : set1(0));
    }
  }
};
struct F32Rows {
  static size_t bytes(int64_t cols) { return f32_row_bytes(cols); }
  static void put(const float* x, int64_t first, int64_t count, std::byte* row) {
    __builtin_memcpy(reinterpret_cast<float*>(row) + first, x, static_cast<size_t>(count) * sizeof(float));
  }
};

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

template <typename Rows>
void pack_row(const float* x, const int32_t* columns, int64_t cols, std::byte* packed) {
  for (int64_t k = 0; k < cols; k += kBlockColumns) {
    const int64_t count = block_width(k, cols);
    if (columns == nullptr) {
      Rows::put(x + k, k, count, packed);
      continue;
    }
    alignas(64) float strip[kBlockColumns];
    for (int64_t i = 0; i < count; ++i) strip[i] = x[columns[k + i]];
    Rows::put(strip, k, count, packed);
  }
}

template <typename Rows>
void pack_rows(const Exec& exec, const RowsToPack& rows, std::byte* packed) {
  for_slices(exec, rows.num_rows, rows.cols, [=, &rows](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const int64_t from = rows.rows != nullptr ? rows.rows[row] : row;
      pack_row<Rows>(rows.x + from * rows.cols, columns_of(rows, row), rows.cols,
                     packed + static_cast<size_t>(row) * Rows::bytes(rows.cols));
    }
  });
}

template <typename Rows>
void rms_norm_packed(const Exec& exec, const RowNorm& norm, std::byte* packed) {
  for_slices(exec, norm.num_rows, norm.dim, [=](int64_t first, int64_t last) {
    const int64_t dim = norm.dim;
    for (int64_t row = first; row < last; ++row) {
      const float* in = norm.x + row * norm.x_stride;
      const Vec scale = set1(rms_scale(in, norm.eps, dim));
      for (int64_t k = 0; k < dim; k += kBlockColumns) {
        const int64_t count = block_width(k, dim);
        alignas(64) float strip[kBlockColumns];
        for_vectors(count,
                    [&](int64_t i, int n) { store(strip + i, normed(in + k + i, scale, norm.weight + k + i, n)); });
        Rows::put(strip, k, count, packed + static_cast<size_t>(row) * Rows::bytes(dim));
      }
    }
  });
}

// The blocks of a row are independent, so threads can divide long rows too.
template <typename Rows>
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
      Rows::put(strip, k, count, packed + static_cast<size_t>(row) * Rows::bytes(gate.dim));
    }
  });
}

template <typename Rows>
void override_with(Kernels& table) {
  table.packed_row_bytes = Rows::bytes;
  table.pack_rows = pack_rows<Rows>;
  table.rms_norm_packed = rms_norm_packed<Rows>;
  table.gated_activation_packed = gated_activation_packed<Rows>;
}

}  // namespace

void override_packed_rows(Kernels& table) {
  switch (table.activations) {
    case Activations::kInt8: return override_with<Q8Rows>(table);
    case Activations::kBf16: return override_with<Bf16Rows>(table);
    case Activations::kF32: return override_with<F32Rows>(table);
  }
}

}  // namespace quire::QUIRE_TABLE
