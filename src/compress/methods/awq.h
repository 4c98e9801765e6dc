// AWQ (arXiv 2306.00978): channels with large inputs are scaled up before their weights become codes, and scales clip
// the groups' ranges, both as a search over the output error finds best. That error is measured with input.products, or
// where there are none with those of input.sample; one of them is needed.
#pragma once

#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "compress/calibration/input_statistics.h"
#include "compress/matrices/float_matrix.h"
#include "compress/matrices/group_matrix.h"
#include "compress/methods/folding.h"

namespace quire {

// Factors [folding.num_channels] for the matrices that read one input, [any, cols] each (folding.readers): the power of
// a channel's root mean square (20 powers from 0) with the least error of all their outputs. All 1 when none is better.
std::vector<float> search_channel_factors(std::span<const FloatMatrix> matrices, const InputStatistics& input,
                                          const Folding& folding, const GroupGrid& grid, ThreadPool& threads);

// Codes of a matrix whose scales clip each group where that makes the group's share of the output error smaller. Matrix
// and input are those after folding. The authors leave Q and K as round_to_nearest makes them.
GroupMatrix round_with_clips(const FloatMatrix& matrix, const InputStatistics& input, const GroupGrid& grid,
                             ThreadPool& threads);

}  // namespace quire
