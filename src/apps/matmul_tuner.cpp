#include "apps/matmul_tuner.h"

#include <cmath>
#include <initializer_list>
#include <tuple>

namespace quire {
namespace {

constexpr double kMargin = 1.02;

// The settings that a multiplication of so many rows uses.
auto path_of(const MatmulTuning& tuning, bool takes_packed, int64_t num_rows) {
  return std::tuple(takes_packed && num_rows <= tuning.packed_tokens,
                    num_rows <= tuning.few_tokens ? tuning.few_panels : tuning.many_panels, tuning.fetch_ahead);
}

class Tuner {
 public:
  Tuner(bool takes_packed, const MatmulTuning& usual, const CompareTunings& compare)
      : takes_packed_(takes_packed), usual_(usual), compare_(compare), best_(usual) {}

  TunedMatrix tune() {
    if (takes_packed_) try_all(&MatmulTuning::packed_tokens, {8, 4, 12, 24, 48});  // 4: one tile
    try_all(&MatmulTuning::few_tokens, {8, 32});
    try_all(&MatmulTuning::few_panels, {1, 2, 4, 8});
    try_all(&MatmulTuning::many_panels, {4});
    try_all(&MatmulTuning::fetch_ahead, {0, 1536, 3072, 12288});
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

  bool differ(const MatmulTuning& a, const MatmulTuning& b, int64_t num_rows) const {
    return path_of(a, takes_packed_, num_rows) != path_of(b, takes_packed_, num_rows);
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

  bool takes_packed_;
  MatmulTuning usual_;
  const CompareTunings& compare_;
  MatmulTuning best_;
};

}  // namespace

TunedMatrix tune_matrix(bool takes_packed, const MatmulTuning& usual, const CompareTunings& compare) {
  return Tuner(takes_packed, usual, compare).tune();
}

bool same_tuning(const MatmulTuning& a, const MatmulTuning& b) {
  const auto all = [](const MatmulTuning& t) {
    return std::tuple(t.packed_tokens, t.few_tokens, t.few_panels, t.many_panels, t.fetch_ahead);
  };
  return all(a) == all(b);
}

}  // namespace quire
