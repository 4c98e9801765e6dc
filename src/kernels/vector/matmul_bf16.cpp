// Weights by bf16 rows (Activations::kBf16): both are rounded to bf16 and their products summed in float. An output is
// one chain over the pairs of columns in ascending order; isa/bf16.h says what it does with a pair. A table over
// another one compiles this source again, with an instruction for it.
#include "isa/bf16.h"
#include "kernels/vector/float_rows.h"
#include "kernels/vector/matmul_tasks.h"
#include "kernels/vector/parts.h"
#include "kernels/vector/widen_bf16.h"
#include "kernels/vector/widened_panels.h"

namespace quire::QUIRE_TABLE {
namespace {

// sums[t][v] += the pairs of w[v] times the pair at x + t * x_stride, from step kStep on.
template <int kStep, int kTokens, int kVectors>
[[gnu::always_inline]] inline void add_pairs(const Bytes (&w)[kVectors], const std::byte* x, int64_t x_stride,
                                             Vec (&sums)[kTokens][kVectors]) {
  if constexpr (kStep < kBf16Steps) {
    Bytes terms[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) terms[v] = bf16_term<kStep>(w[v]);
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
      const Bytes term = bf16_term<kStep>(load_word(x + t * x_stride));
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sums[t][v] = add_bf16_terms(sums[t][v], terms[v], term);
    }
    add_pairs<kStep + 1>(w, x, x_stride, sums);
  }
}

struct Bf16Panels {
  using Out = Bf16Out;
  static constexpr int kBytes = sizeof(uint16_t);
  static constexpr int kColumns = 128;
  static constexpr int kFetchedPairs = 8;  // between prefetches
  static size_t row_bytes(int64_t cols) { return bf16_row_bytes(cols); }

  static Widen<Out> widen_of(Format format) { return widen_to_bf16(format); }

  template <int kPanels, int kTokens>
  static void multiply(const WidenedProduct& p) {
    constexpr int kVectors = kPanels * kPanelVectors;
    constexpr int kPanelBytes = kColumns * kPanelRows * kBytes;
    const auto sums_at = [&p](int t, int v) {
      return p.sums + v / kPanelVectors * p.sums_stride + t * kPanelRows + v % kPanelVectors * kLanes;
    };
    Vec sums[kTokens][kVectors];
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sums[t][v] = load(sums_at(t, v));
    }
    Ahead ahead = p.ahead;
    const int pairs = (p.columns + 1) / 2;
    for (int first = 0; first < pairs; first += kFetchedPairs) {
      if (kTokens > 1) fetch<kPanels>(ahead, 2 * kFetchedPairs);  // a round for each column
      const int end = first + kFetchedPairs < pairs ? first + kFetchedPairs : pairs;
      for (int pair = first; pair < end; ++pair) {
        Bytes w[kVectors];
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          w[v] = load_bytes(p.weights + v / kPanelVectors * kPanelBytes +
                            (pair * kPanelVectors + v % kPanelVectors) * kVectorBytes);
        }
        add_pairs<0>(w, p.x + 4 * pair, p.x_stride, sums);
      }
    }
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) store(sums_at(t, v), sums[t][v]);
    }
  }
};

MultiplyPanels panels_of(Format) { return multiply_widened_panels<Bf16Panels>; }

}  // namespace

void override_bf16(Kernels& table) {
  for (FormatKernels& row : table.formats) {
    if (row.input == RowForm::kPacked) row.matmul = matmul_outputs<panels_of>;
  }
}

}  // namespace quire::QUIRE_TABLE
