#include "apps/matmul_tuner.h"

#include <cmath>
#include <initializer_list>
#include <tuple>

namespace quire {
namespace {

constexpr double kMargin = 1.02;

// The settings that a multiplication of so many rows uses.
auto path_of(const MatmulTuning& tuning, bool decodes, int64_t num_rows) {
  if (num_rows == 1) {
    // Weights of one tile are always decoded in registers.
    return std::tuple(false, int{tuning.one_panels}, int{tuning.one_fetch});
  }
  return std::tuple(decodes && num_rows <= tuning.packed_tokens,
                    int{num_rows <= tuning.few_tokens ? tuning.few_panels : tuning.many_panels},
                    int{tuning.fetch_ahead});
}

class Tuner {
 public:
  Tuner(bool decodes, const MatmulTuning& usual, const CompareTunings& compare)
      : decodes_(decodes), usual_(usual), compare_(compare), best_(usual) {}

  TunedMatrix tune() {
    if (decodes_) try_all(&MatmulTuning::packed_tokens, {8, 4, 12, 24, 48, 128});  // 4: one tile
    try_all(&MatmulTuning::few_tokens, {8, 32, 64});
    try_all(&MatmulTuning::few_panels, {1, 2, 4, 8});
    try_all(&MatmulTuning::many_panels, {4});
    try_all(&MatmulTuning::fetch_ahead, {0, 1536, 3072, 12288});
    try_one_row();
    return judged();
  }

 private:
  template <typename T>
  void try_all(T MatmulTuning::*setting, std::initializer_list<int> candidates) {
    for (const int candidate : candidates) {
      MatmulTuning tuning = best_;
      tuning.*setting = static_cast<T>(candidate);
      if (wins(tuning)) best_ = tuning;
    }
  }

  // Several streams may pay only if they are prefetched, and prefetching only with several streams.
  void try_one_row() {
    for (const int16_t panels : {1, 4, 8}) {
      for (const int32_t distance : {6144, 0, 1536, 3072, 12288}) {
        MatmulTuning tuning = best_;
        tuning.one_panels = panels;
        tuning.one_fetch = distance;
        if (wins(tuning)) best_ = tuning;
      }
    }
  }

  bool differ(const MatmulTuning& a, const MatmulTuning& b, int64_t num_rows) const {
    return path_of(a, decodes_, num_rows) != path_of(b, decodes_, num_rows);
  }

  bool wins(const MatmulTuning& tuning) const {
    double log_sum = 0;
    int count = 0;
    for (const int64_t num_rows : kTunedRows) {
      if (!differ(best_, tuning, num_rows)) continue;
      const TuningTimes times = compare_(num_rows, best_, tuning);
      if (times.b_s > times.a_s * kMargin) return false;
      log_sum += std::log(times.a_s / times.b_s);
      ++count;
    }
    return count > 0 && log_sum / count > std::log(kMargin);
  }

  // Measures the best against the defaults once more; the defaults stay unless it wins again.
  TunedMatrix judged() const {
    TunedMatrix result{.tuning = best_, .times = {}};
    double log_sum = 0;
    int count = 0;
    for (const int64_t num_rows : kTunedRows) {
      TuningTimes times = compare_(num_rows, usual_, best_);
      if (differ(usual_, best_, num_rows)) {
        log_sum += std::log(times.a_s / times.b_s);
        ++count;
      } else {
        times.b_s = times.a_s;
      }
      result.times.push_back(times);
    }
    if (count > 0 && log_sum / count > std::log(kMargin)) return result;
    result.tuning = usual_;
    for (TuningTimes& times : result.times) times.b_s = times.a_s;
    return result;
  }

  bool decodes_;
  MatmulTuning usual_;
  const CompareTunings& compare_;
  MatmulTuning best_;
};

}  // namespace

TunedMatrix tune_matrix(bool decodes, const MatmulTuning& usual, const CompareTunings& compare) {
  return Tuner(decodes, usual, compare).tune();
}

bool same_tuning(const MatmulTuning& a, const MatmulTuning& b) {
  const auto all = [](const MatmulTuning& t) {
    return std::tuple(t.packed_tokens, t.few_tokens, t.few_panels, t.many_panels, t.one_panels, t.fetch_ahead,
                      t.one_fetch);
  };
  return all(a) == all(b);
}

}  // namespace quire
