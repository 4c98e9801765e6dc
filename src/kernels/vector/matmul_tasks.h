// Divides a multiplication into tasks of a few panels and stores their results. math.h says how the files of this
// folder are used.
#pragma once

#include "isa/bytes.h"
#include "isa/vec.h"
#include "kernels/kernels.h"
#include "kernels/vector/loops.h"
#include "kernels/vector/matmul_layout.h"
#include "kernels/vector/parts.h"
#include "kernels/vector/task_parts.h"
#include "kernels/vector/token_tiles.h"

namespace quire::QUIRE_TABLE {

// Of every format of weights. A table over another one multiplies by the other's what it has nothing better for.
MultiplyPanels multiply_panels_for(Format format);

namespace {

// The number of panels in one task. With few tokens memory limits the speed, and small tasks divide a matrix evenly.
// With many tokens large tasks use the columns of the tokens more often while they are in a near cache.
inline int64_t task_panels(const PackedMatrix& weights, int64_t num_tokens) {
  const MatmulTuning& tuning = weights.tuning;
  const int panels = num_tokens == 1                   ? tuning.one_panels
                     : num_tokens <= tuning.few_tokens ? tuning.few_panels
                                                       : tuning.many_panels;
  // Floats of several tiles of tokens are not limited by memory, and faster with as many panels as share activations.
  constexpr int kFloatPanels = panels_together(kFloatTile, kFloatTile.tokens);
  const bool is_float = !is_code_format(weights.format) && num_tokens > kFloatTile.tokens;
  const int least = is_float ? kFloatPanels : 1;
  return panels < least ? least : panels < kMaxTaskPanels ? panels : kMaxTaskPanels;
}

inline void store_rows(const MatmulOutput& out, int64_t row, int64_t first_token, int64_t num_tokens,
                       const float* sums) {
  const int64_t rows = out.weights.rows;
  for (int v = 0; v < kPanelVectors; ++v) {
    const int64_t at = row + v * kLanes;
    if (at >= rows) return;
    const int lanes = rows - at < kLanes ? static_cast<int>(rows - at) : kLanes;
    for (int64_t t = 0; t < num_tokens; ++t) {
      float* y = out.y + (first_token + t) * out.y_stride + at;
      Vec sum = load(sums + t * kPanelRows + v * kLanes);
      if (out.bias != nullptr) sum = add(sum, load_some(out.bias + at, lanes));
      if (out.accumulate) sum = add(sum, load_some(y, lanes));
      store_some(y, sum, lanes);
    }
  }
}

inline void fetch_outputs(const MatmulOutput& out, int64_t row, int64_t first_token, int64_t num_tokens) {
  for (int64_t t = 0; t < num_tokens; ++t) {
    const float* y = out.y + (first_token + t) * out.y_stride + row;
    for (int v = 0; v < kPanelVectors; ++v) prefetch_far(y + v * kLanes);
  }
}

// Computes panels [first, first + count) of one output for all tokens.
template <MultiplyPanels (*kPanelsFor)(Format)>
void multiply_task(const MatmulInput& x, const MatmulOutput& out, int64_t first, int count) {
  const MultiplyPanels multiply = kPanelsFor(out.weights.format);
  alignas(64) float sums[kMaxTaskPanels * kTokenBlock * kPanelRows];
  for (int64_t token = 0; token < x.num_rows; token += kTokenBlock) {
    const int64_t tokens = x.num_rows - token < kTokenBlock ? x.num_rows - token : kTokenBlock;
    for (int i = 0; i < count; ++i) fetch_outputs(out, (first + i) * kPanelRows, token, tokens);
    __builtin_memset(sums, 0, static_cast<size_t>(count * tokens * kPanelRows) * sizeof(float));
    multiply(out.weights, first, count, x, token, tokens, sums);
    for (int i = 0; i < count; ++i) {
      store_rows(out, (first + i) * kPanelRows, token, tokens, sums + i * tokens * kPanelRows);
    }
  }
}

inline const MatmulInput& input_of(const MatmulInput& x, const MatmulOutput& out) {
  return out.input != nullptr ? *out.input : x;
}

// FormatKernels::matmul: one parallel loop over the tasks of all outputs.
template <MultiplyPanels (*kPanelsFor)(Format)>
void matmul_outputs(const Exec& exec, const MatmulInput& x, const MatmulOutput* outputs, int num_outputs) {
  const auto panels_of = [&](int i) {
    const MatmulOutput& out = outputs[i];
    const int64_t num_rows = input_of(x, out).num_rows;
    return MatrixPanels{num_rows == 0 ? 0 : divide_up(out.weights.rows, kPanelRows),
                        task_panels(out.weights, num_rows)};
  };
  for_panel_tasks(exec, num_outputs, panels_of, [&](const PanelTask& task) {
    const MatmulOutput& out = outputs[task.matrix];
    multiply_task<kPanelsFor>(input_of(x, out), out, task.first, task.count);
  });
}

}  // namespace
}  // namespace quire::QUIRE_TABLE
