// Counts of observed values by bucket. Observed from any thread, without locks.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/metrics/metrics_text.h"

namespace quire {

class Histogram {
 public:
  // `bounds` ascend and outlive this.
  explicit Histogram(std::span<const double> bounds);

  void observe(double value);
  // Negative values are times that do not exist and are not counted.
  void observe_if_known(double value);

  void write(MetricsText& text, std::string_view name, std::string_view help) const;
  json::object to_json() const;

 private:
  std::vector<uint64_t> counts() const;

  std::span<const double> bounds_;
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;
  std::atomic<double> sum_{0.0};
};

// A latency in vLLM's buckets for dashboards, and in fine ones for the live view.
class Latency {
 public:
  explicit Latency(std::span<const double> bounds);

  void observe_if_known(double seconds);
  void write(MetricsText& text, std::string_view name, std::string_view help) const { wide_.write(text, name, help); }
  json::object to_json() const { return fine_.to_json(); }

 private:
  Histogram wide_;
  Histogram fine_;
};

}  // namespace quire
