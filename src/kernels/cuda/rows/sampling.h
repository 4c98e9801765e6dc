// The sampling entry of the CUDA table: rows that ask for no more than temperature, top-k, top-p, min-p and a draw get
// the same steps in the same order as in decoding/sampler.h, the same ties (the lowest id) and the same token wherever
// the rounding of sums does not decide.
//
// Probabilities are summed as whole numbers of 2^-42, so that no order of summing can be seen. Thresholds are found
// exactly, without sorting, by histograms of the logits' bits (radix select).
#pragma once

#include "kernels/kernels.h"

namespace quire {

// SamplingRow::temperature is 0 or at least 1e-5 (kLeastTemperature), so that dividing by it is finite.
void sample_rows(const Exec& exec, const float* logits, int64_t num_rows, int vocab_size, const SamplingRow* rows,
                 int32_t* tokens);

}  // namespace quire
