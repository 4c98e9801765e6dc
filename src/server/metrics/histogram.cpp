#include "server/metrics/histogram.h"

#include <algorithm>
#include <array>

namespace quire {
namespace {

// The live view reads percentiles off its buckets, so these are 12 % wide: the preferred numbers R20 (ISO 3) of eight
// decades from 0.1 ms on.
constexpr int kPreferredNumbers[] = {100, 112, 125, 140, 160, 180, 200, 224, 250, 280,
                                     315, 355, 400, 450, 500, 560, 630, 710, 800, 900};
constexpr int kDecades = 8;
constexpr auto kLiveBounds = [] {
  std::array<double, std::size(kPreferredNumbers) * kDecades + 1> bounds{};
  size_t next = 0;
  double scale = 1e6;  // an exact number divided by an exact one: the nearest double, which has a short text
  for (int decade = 0; decade < kDecades; ++decade, scale /= 10) {
    for (const int number : kPreferredNumbers) bounds[next++] = number / scale;
  }
  bounds[next] = 1e4;
  return bounds;
}();

}  // namespace

Histogram::Histogram(std::span<const double> bounds)
    : bounds_(bounds), counts_(new std::atomic<uint64_t>[bounds.size() + 1]()) {}

void Histogram::observe(double value) {
  const size_t bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[bucket].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

void Histogram::observe_if_known(double value) {
  if (value >= 0) observe(value);
}

void Histogram::write(MetricsText& text, std::string_view name, std::string_view help) const {
  text.histogram(name, help, bounds_, counts(), sum_.load(std::memory_order_relaxed));
}

json::object Histogram::to_json() const {
  const std::vector<uint64_t> all = counts();
  uint64_t total = 0;
  for (const uint64_t count : all) total += count;
  return {{"bounds", json::value_from(std::vector<double>(bounds_.begin(), bounds_.end()))},
          {"counts", json::value_from(all)},
          {"count", total},
          {"sum", sum_.load(std::memory_order_relaxed)}};
}

std::vector<uint64_t> Histogram::counts() const {
  std::vector<uint64_t> copy(bounds_.size() + 1);
  for (size_t i = 0; i < copy.size(); ++i) copy[i] = counts_[i].load(std::memory_order_relaxed);
  return copy;
}

Latency::Latency(std::span<const double> bounds) : wide_(bounds), fine_(kLiveBounds) {}

void Latency::observe_if_known(double seconds) {
  wide_.observe_if_known(seconds);
  fine_.observe_if_known(seconds);
}

}  // namespace quire
