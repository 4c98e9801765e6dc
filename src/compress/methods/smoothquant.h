// SmoothQuant (arXiv 2211.10438): channels whose inputs reach far are scaled down and their weights up, so that both
// fit eight bits (W8A8). After folding, a matrix is round_to_nearest with kW8A8Grid.
#pragma once

#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "compress/calibration/input_statistics.h"
#include "compress/matrices/float_matrix.h"
#include "compress/matrices/group_matrix.h"
#include "compress/methods/folding.h"

namespace quire {

inline constexpr GroupGrid kW8A8Grid = {.bits = 8, .group = 0, .symmetric = true};

// Factors [folding.num_channels] for the matrices that read one input, [any, cols] each (folding.readers):
// largest |x|^alpha / largest |w|^(1 - alpha) of a channel. 1 for channels that are zero on either side.
std::vector<float> smoothing_factors(std::span<const FloatMatrix> matrices, const InputStatistics& input,
                                     const Folding& folding, float alpha);

// The alpha among 0, 0.05 ... 1 whose factors make the least error of all outputs on input.sample, with weights of
// eight bits for each row and inputs of eight bits for each token.
float search_alpha(std::span<const FloatMatrix> matrices, const InputStatistics& input, const Folding& folding,
                   ThreadPool& threads);

}  // namespace quire
