// The search of `quire tune`: which MatmulTuning suits a matrix, one setting after the other from the table's own, by
// whatever measures two of them against each other. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/kernels.h"

namespace quire {

// Rows of a batch that settings are measured at: one stream, a few, a prompt.
inline constexpr int64_t kTunedRows[] = {1, 4, 8, 16, 32, 64, 128};

struct TuningTimes {
  double a_s = 0;
  double b_s = 0;
};
// Seconds of one multiplication of `num_rows` rows with either tuning, measured in turns.
using CompareTunings = std::function<TuningTimes(int64_t num_rows, const MatmulTuning& a, const MatmulTuning& b)>;

struct TunedMatrix {
  MatmulTuning tuning;
  std::vector<TuningTimes> times;  // of kTunedRows: a with the defaults, b with `tuning`
};

// `usual`: the defaults, Kernels::usual_tuning. `takes_packed`: Kernels::takes_packed of the format; others have no
// codes to decode. What replaces a default wins by more than 2 % in the mean of the row counts where it makes a
// difference, loses that much at none, and does so again in the end: noise does not tune.
TunedMatrix tune_matrix(bool takes_packed, const MatmulTuning& usual, const CompareTunings& compare);

bool same_tuning(const MatmulTuning& a, const MatmulTuning& b);

}  // namespace quire
