// One direction of a panel of a plot: its range, its ticks, and the place of a value in pixels.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace quire::load {

// Round numbers that divide an axis, first and last at or within the range.
std::vector<double> linear_ticks(double low, double high, int wanted);
std::vector<double> log_ticks(double low, double high);

class Axis {
 public:
  Axis(bool is_log, double from_px, double to_px) : is_log_(is_log), from_px_(from_px), to_px_(to_px) {}

  bool can_show(double value) const { return std::isfinite(value) && (!is_log_ || value > 0); }
  void include(double value) {
    if (!can_show(value)) return;
    low_ = std::min(low_, value);
    high_ = std::max(high_, value);
  }
  // After the last include(): chooses the ticks and the ends.
  void close(int wanted_ticks);
  double px(double value) const {
    const double share = is_log_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
    return from_px_ + share * (to_px_ - from_px_);
  }
  const std::vector<double>& ticks() const { return ticks_; }

 private:
  bool is_log_;
  double from_px_, to_px_;
  double low_ = std::numeric_limits<double>::infinity();
  double high_ = -std::numeric_limits<double>::infinity();
  std::vector<double> ticks_;
};

}  // namespace quire::load
