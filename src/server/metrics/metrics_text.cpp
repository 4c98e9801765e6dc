#include "server/metrics/metrics_text.h"

#include <fmt/format.h>

namespace quire {
namespace {

// As Prometheus' own libraries write bounds: 1.0, not 1.
std::string bound_text(double bound) {
  const std::string text = fmt::format("{}", bound);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

}  // namespace

std::string MetricsText::label(std::string_view name, std::string_view value) {
  std::string out(name);
  out += "=\"";
  for (const char c : value) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

void MetricsText::family(std::string_view name, std::string_view type, std::string_view help) {
  fmt::format_to(std::back_inserter(text_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void MetricsText::value(double number) {
  // Counts are written as integers: 1e+06 loses digits.
  if (number >= -9e15 && number <= 9e15 && number == static_cast<double>(static_cast<int64_t>(number))) {
    fmt::format_to(std::back_inserter(text_), " {}\n", static_cast<int64_t>(number));
  } else {
    fmt::format_to(std::back_inserter(text_), " {}\n", number);
  }
}

void MetricsText::sample(std::string_view name, double number, Labels labels) {
  text_ += name;
  std::string all = common_;
  for (const auto& [key, text] : labels) all += (all.empty() ? "" : ",") + label(key, text);
  if (!all.empty()) text_ += "{" + all + "}";
  value(number);
}

void MetricsText::gauge(std::string_view name, std::string_view help, double number) {
  family(name, "gauge", help);
  sample(name, number);
}

void MetricsText::counter(std::string_view name, std::string_view help, double number) {
  family(name, "counter", help);
  sample(name, number);
}

void MetricsText::histogram(std::string_view name, std::string_view help, std::span<const double> bounds,
                            std::span<const uint64_t> counts, double sum) {
  family(name, "histogram", help);
  const std::string bucket = std::string(name) + "_bucket";
  uint64_t total = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    total += counts[i];
    sample(bucket, static_cast<double>(total), {{"le", i < bounds.size() ? bound_text(bounds[i]) : "+Inf"}});
  }
  sample(std::string(name) + "_sum", sum);
  sample(std::string(name) + "_count", static_cast<double>(total));
}

}  // namespace quire
