// Routing to experts and gathering by lists: what every table of the host shares.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/reference/reference.h"

namespace quire {
namespace {

constexpr int64_t kRowsPerTile = 16;

// Calls body(row) for every row, `kRowsPerTile` of them in a tile.
template <typename F>
void for_rows(const Exec& exec, int64_t num_rows, const F& body) {
  const auto run_tile = [&](int64_t tile) {
    const int64_t end = std::min(num_rows, (tile + 1) * kRowsPerTile);
    for (int64_t row = tile * kRowsPerTile; row < end; ++row) body(row);
  };
  const Exec::Body call = [](void* context, int64_t tile, int) {
    (*static_cast<const decltype(run_tile)*>(context))(tile);
  };
  exec.run(exec.pool, (num_rows + kRowsPerTile - 1) / kRowsPerTile, call,
           const_cast<void*>(static_cast<const void*>(&run_tile)));
}

void gather_rows(const Exec& exec, const std::byte* from, size_t row_bytes, const int32_t* rows, int64_t num_rows,
                 std::byte* to) {
  for_rows(exec, num_rows, [=](int64_t i) {
    std::memcpy(to + static_cast<size_t>(i) * row_bytes, from + static_cast<size_t>(rows[i]) * row_bytes, row_bytes);
  });
}

void embed_rows(const Exec& exec, const PackedMatrix& matrix, const EmbeddedTokens& tokens, int64_t num_rows,
                float scale, float* out) {
  const WeightFormat& format = weight_format(matrix.format);
  const size_t row_bytes = format.bytes_of(matrix.cols);
  for_rows(exec, num_rows, [&](int64_t row) {
    int32_t token = tokens.ids[row];
    if (token < 0) token = std::max(tokens.chosen[-1 - token], 0);
    float* const values = out + row * matrix.cols;
    format.dequantize(matrix.data + static_cast<size_t>(token) * row_bytes, values, matrix.cols);
    if (scale == 1.0f) return;
    for (int64_t i = 0; i < matrix.cols; ++i) values[i] *= scale;
  });
}

// The choices of one row, ascending, their weights beside them. Overwrites `logits`.
void route_row(const Routing& routing, float* logits, int32_t* experts, float* weights) {
  constexpr float kTaken = -1.0f;  // no probability
  const int n = routing.num_experts;
  float largest = -std::numeric_limits<float>::infinity();
  for (int e = 0; e < n; ++e) largest = std::max(largest, logits[e]);
  float sum = 0.0f;
  for (int e = 0; e < n; ++e) {
    logits[e] = std::exp(logits[e] - largest);
    sum += logits[e];
  }
  for (int e = 0; e < n; ++e) logits[e] /= sum;

  float chosen = 0.0f;
  for (int j = 0; j < routing.per_row; ++j) {
    int32_t best = -1;
    for (int32_t e = 0; e < n; ++e) {
      if (logits[e] == kTaken) continue;
      if (best < 0 || logits[e] > logits[best] || (std::isnan(logits[best]) && !std::isnan(logits[e]))) best = e;
    }
    chosen += logits[best];
    int at = j;  // into its place among the ascending
    for (; at > 0 && experts[at - 1] > best; --at) {
      experts[at] = experts[at - 1];
      weights[at] = weights[at - 1];
    }
    experts[at] = best;
    weights[at] = std::exchange(logits[best], kTaken);
  }
  for (int j = 0; routing.normalize && j < routing.per_row; ++j) weights[j] /= chosen;
}

// A counting sort of the choices, out.slots holding the experts, by expert.
void assign_slots(const Routing& routing, int64_t num_rows, const ExpertSlots& out) {
  const int64_t num_slots = num_rows * routing.per_row;
  std::fill_n(out.first, routing.num_experts + 1, 0);
  for (int64_t i = 0; i < num_slots; ++i) ++out.first[out.slots[i] + 1];
  for (int e = 0; e < routing.num_experts; ++e) out.first[e + 1] += out.first[e];
  for (int64_t i = num_slots - 1; i >= 0; --i) {
    // Filling each expert's range from its end leaves first[e + 1] at the range's start; shifted back below.
    const int32_t slot = --out.first[out.slots[i] + 1];
    out.slots[i] = slot;
    out.rows[slot] = static_cast<int32_t>(i / routing.per_row);
  }
  for (int e = 0; e < routing.num_experts; ++e) out.first[e] = out.first[e + 1];
  out.first[routing.num_experts] = static_cast<int32_t>(num_slots);
}

void route_experts(const Exec& exec, const Routing& routing, float* logits, int64_t num_rows, const ExpertSlots& out) {
  for_rows(exec, num_rows, [&](int64_t row) {
    const int64_t choices = row * routing.per_row;
    route_row(routing, logits + row * routing.num_experts, out.slots + choices, out.weights + choices);
  });
  assign_slots(routing, num_rows, out);
}

}  // namespace

void fill_experts_reference(Kernels& table) {
  table.gather_rows = gather_rows;
  table.embeds_file_rows = true;
  table.embed_rows = embed_rows;
  table.route_experts = route_experts;
}

}  // namespace quire
