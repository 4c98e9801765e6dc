// The search of `quire tune` for the fastest MatmulTuning of a matrix: starts from the table's defaults and changes one
// setting after the other. The caller measures two tunings against each other. One thread.
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

// `usual`: the defaults, Kernels::usual_tuning. `decodes`: the format is not F32, which is multiplied as it is. A
// setting replaces a default only if it wins by more than 2 % in the mean of the row counts where it makes a
// difference, loses that much at none, and wins again in a last comparison; so noise changes nothing.
TunedMatrix tune_matrix(bool decodes, const MatmulTuning& usual, const CompareTunings& compare);

bool same_tuning(const MatmulTuning& a, const MatmulTuning& b);

}  // namespace quire
