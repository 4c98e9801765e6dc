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

constexpr int kFetchedPairs = 8;  // between prefetches

// Pairs as widen_to_bf16 leaves them.
template <int kColumns>
struct WidenedColumns {
  const std::byte* first;

  Bytes load(int pair, int v) const {
    return load_bytes(first + v / kPanelVectors * kColumns * kPanelRows * static_cast<int>(sizeof(uint16_t)) +
                      (pair * kPanelVectors + v % kPanelVectors) * kVectorBytes);
  }
};
// Panels of BF16, `stride` bytes apart.
struct Bf16Columns {
  const std::byte* first;
  int64_t stride;

  Bytes load(int pair, int v) const {
    const auto* const even = reinterpret_cast<const uint16_t*>(first + v / kPanelVectors * stride) +
                             2 * pair * kPanelRows + v % kPanelVectors * kLanes;
    return bf16_pairs_of(even, even + kPanelRows);
  }
};

// `panel_end` is of the first panel, for skip_panels.
template <int kPanels, int kTokens, bool kFetches, typename Weights>
void multiply_pairs(const Weights& weights, const WidenedProduct& p, const std::byte* panel_end) {
  constexpr int kVectors = kPanels * kPanelVectors;
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
    skip_panels<kPanels>(ahead, panel_end);
    if (kFetches) fetch<kPanels>(ahead, 2 * kFetchedPairs);  // a round for each column
    const int end = first + kFetchedPairs < pairs ? first + kFetchedPairs : pairs;
    for (int pair = first; pair < end; ++pair) {
      Bytes w[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) w[v] = weights.load(pair, v);
      add_pairs<0>(w, p.x + 4 * pair, p.x_stride, sums);
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) store(sums_at(t, v), sums[t][v]);
  }
}

struct Bf16Panels {
  using Out = Bf16Out;
  static constexpr int kBytes = sizeof(uint16_t);
  static constexpr int kColumns = 128;
  static size_t row_bytes(int64_t cols) { return bf16_row_bytes(cols); }

  static Widen<Out> widen_of(Format format) { return widen_to_bf16(format); }

  template <int kPanels, int kTokens>
  static void multiply(const WidenedProduct& p) {
    const std::byte* const not_reached = p.ahead.at + p.ahead.stride;
    multiply_pairs<kPanels, kTokens, (kTokens > 1)>(WidenedColumns<kColumns>{p.weights}, p, not_reached);
  }
};

// Few tokens by BF16: as the panels lie, with sums that stay in registers from the first column to the last.
void multiply_bf16_panels(const PackedMatrix& w, int64_t first, int count, const MatmulInput& x, int64_t first_token,
                          int64_t num_tokens, float* sums) {
  if (num_tokens > kFloatTile.tokens || w.cols % 2 != 0) {
    return multiply_widened_panels<Bf16Panels>(w, first, count, x, first_token, num_tokens, sums);
  }
  const int64_t stride = panel_bytes(w.format, w.cols);
  const int64_t distance = fetch_distance(w.tuning, num_tokens);
  const int64_t fetched = distance > 0 ? stride : 0;
  WidenedProduct product{};
  product.columns = static_cast<int>(w.cols);
  product.x_stride = static_cast<int64_t>(bf16_row_bytes(w.cols));
  product.x = x.packed + first_token * product.x_stride;
  product.sums_stride = num_tokens * kPanelRows;
  for_panels(kFloatTile, count, num_tokens, [&](int panel, int panels) {
    const std::byte* const at = w.data + (first + panel) * stride;
    product.sums = sums + panel * product.sums_stride;
    product.ahead = AheadShares(at + distance, stride, fetched, 1, product.columns).of_tile(0);
    with_tile<kFloatTile, 1>(panels, static_cast<int>(num_tokens), [&]<int kPanels, int kTokens>() {
      multiply_pairs<kPanels, kTokens, true>(Bf16Columns{at, stride}, product, at + stride);
    });
  });
}

MultiplyPanels panels_of(Format format) {
  return format == Format::kBF16 ? multiply_bf16_panels : multiply_widened_panels<Bf16Panels>;
}

}  // namespace

void override_bf16(Kernels& table) {
  for (FormatKernels& row : table.formats) {
    if (row.input == RowForm::kPacked) row.matmul = matmul_outputs<panels_of>;
  }
}

}  // namespace quire::QUIRE_TABLE
