// Prometheus' text format, version 0.0.4. One exposition, one thread.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace quire {

class MetricsText {
 public:
  using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  // `common` labels stand on every sample written with labelled names.
  explicit MetricsText(std::string common_labels) : common_(std::move(common_labels)) {}
  static std::string label(std::string_view name, std::string_view value);

  void family(std::string_view name, std::string_view type, std::string_view help);
  void sample(std::string_view name, double value, Labels labels = {});
  // A family of one sample.
  void gauge(std::string_view name, std::string_view help, double value);
  void counter(std::string_view name, std::string_view help, double value);  // name with its _total
  // `counts` per bucket, not cumulated; one more than `bounds`.
  void histogram(std::string_view name, std::string_view help, std::span<const double> bounds,
                 std::span<const uint64_t> counts, double sum);

  std::string take() { return std::move(text_); }

 private:
  void value(double number);

  std::string common_;
  std::string text_;
};

}  // namespace quire
