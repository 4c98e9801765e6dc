#include "measure/svg_axis.h"

#include <cstdint>

namespace quire::load {
namespace {

constexpr double kLogMargin = 1.12;  // between the outermost points and the ends of a logarithmic axis

}  // namespace

void Axis::close(int wanted_ticks) {
  if (low_ > high_) low_ = is_log_ ? 1 : 0, high_ = is_log_ ? 10 : 1;
  if (is_log_) {
    if (high_ < low_ * 2) low_ /= 1.5, high_ *= 1.5;
    low_ /= kLogMargin, high_ *= kLogMargin;
    ticks_ = log_ticks(low_, high_);
  } else {
    if (high_ <= low_) high_ = low_ + 1;
    ticks_ = linear_ticks(low_, high_, wanted_ticks);
    const double step = ticks_.size() > 1 ? ticks_[1] - ticks_[0] : high_;
    if (ticks_.back() < high_) ticks_.push_back(ticks_.back() + step);  // the top line stands above the data
    high_ = std::max(high_, ticks_.back());
  }
}

std::vector<double> linear_ticks(double low, double high, int wanted) {
  const double raw = (high - low) / std::max(1, wanted);
  if (!(raw > 0)) return {low};
  const double decade = std::pow(10.0, std::floor(std::log10(raw)));
  double step = 10 * decade;
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * decade >= raw * (1 - 1e-9)) {
      step = factor * decade;
      break;
    }
  }
  std::vector<double> ticks;
  for (auto i = static_cast<int64_t>(std::ceil(low / step - 1e-9)); static_cast<double>(i) * step <= high + 1e-9 * step;
       ++i) {
    ticks.push_back(static_cast<double>(i) * step);
  }
  return ticks;
}

std::vector<double> log_ticks(double low, double high) {
  const int first = static_cast<int>(std::floor(std::log10(low)));
  const int last = static_cast<int>(std::ceil(std::log10(high)));
  std::vector<double> ticks;
  for (int decade = first; decade <= last; ++decade) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor > 1 && last - first > 4) continue;  // labels at decades are enough
      const double tick = factor * std::pow(10.0, decade);
      if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push_back(tick);
    }
  }
  return ticks;
}

}  // namespace quire::load
