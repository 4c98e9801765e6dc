// The sampling entry of the CUDA table, for rows that need only temperature, top-k, top-p, min-p and a draw. It runs
// the same steps in the same order as decoding/sampler.h, chooses the lowest id among equals, and chooses the same
// token unless the rounding of sums decides.
//
// Probabilities are summed as integer multiples of 2^-42, so that the order of summation does not matter. Thresholds
// are found exactly, without sorting, by histograms of the bits of the logits (radix select).
#pragma once

#include "kernels/kernels.h"

namespace quire {

// SamplingRow::temperature is 0 or at least 1e-5 (kMinTemperature), so that dividing by it is finite.
void sample_rows(const Exec& exec, const float* logits, int64_t num_rows, int vocab_size, const SamplingRow* rows,
                 int32_t* tokens);

}  // namespace quire
