// Prometheus' text format, version 0.0.4. One exposition, one thread.
//
// The format wants all samples of a family in one place. A family that is named again, for another model, is continued
// where it stands.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quire {

class MetricsText {
 public:
  using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  static std::string label(std::string_view name, std::string_view value);
  // These labels stand on every sample from now on.
  void label_all(Labels labels);

  void family(std::string_view name, std::string_view type, std::string_view help);
  void sample(std::string_view name, double value, Labels labels = {});
  // A family of one sample.
  void gauge(std::string_view name, std::string_view help, double value);
  void counter(std::string_view name, std::string_view help, double value);  // name with its _total
  // `counts` per bucket, not cumulated; one more than `bounds`.
  void histogram(std::string_view name, std::string_view help, std::span<const double> bounds,
                 std::span<const uint64_t> counts, double sum);

  std::string take();

 private:
  struct Family {
    std::string name;
    std::string text;
  };

  void value(double number);

  std::string common_;
  std::vector<Family> families_;  // in the order of their first mention
  std::string* text_ = nullptr;   // of the current one
};

}  // namespace quire
