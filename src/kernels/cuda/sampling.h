// Logits -> tokens on the device, for rows that ask for no more than temperature, top-k, top-p, min-p and a draw: the
// same steps in the same order as decoding/sampler.h, the same ties (the lowest id) and the same token wherever the
// rounding of sums does not decide. Called by whoever runs steps; everything lies in device memory.
//
// Probabilities are summed as whole numbers of 2^-42, so that no order of summing can be seen. Thresholds are found
// exactly, without sorting, by histograms of the logits' bits (radix select).
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

namespace quire {

struct SamplingRow {
  double random = 0.0;       // the draw's number, uniform in [0, 1)
  float temperature = 0.0f;  // 0: the likeliest token
  int32_t top_k = 0;         // keep the k likeliest; 0: all
  float top_p = 1.0f;        // keep the smallest likeliest set of at least this mass; above 0
  float min_p = 0.0f;        // keep tokens of at least min_p x the likeliest one's probability
};

// tokens[row] from logits [num_rows, vocab_size] contiguous, rows [num_rows], vocab_size at most 2^20. -1 for a row
// with a NaN, +infinity or nothing finite.
void sample_rows(const Exec& exec, const float* logits, int64_t num_rows, int vocab_size, const SamplingRow* rows,
                 int32_t* tokens);

}  // namespace quire
