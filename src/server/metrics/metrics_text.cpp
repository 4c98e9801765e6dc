#include "server/metrics/metrics_text.h"

#include <fmt/format.h>

#include <algorithm>

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

void MetricsText::label_all(Labels labels) {
  common_.clear();
  for (const auto& [key, text] : labels) common_ += (common_.empty() ? "" : ",") + label(key, text);
}

std::string MetricsText::take() {
  std::string all;
  for (const Family& family : families_) all += family.text;
  families_.clear();
  text_ = nullptr;
  return all;
}

void MetricsText::family(std::string_view name, std::string_view type, std::string_view help) {
  const auto known =
      std::find_if(families_.begin(), families_.end(), [&](const Family& family) { return family.name == name; });
  if (known != families_.end()) {
    text_ = &known->text;
    return;
  }
  families_.push_back({std::string(name), fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type)});
  text_ = &families_.back().text;
}

void MetricsText::value(double number) {
  // Counts are written as integers: 1e+06 loses digits.
  if (number >= -9e15 && number <= 9e15 && number == static_cast<double>(static_cast<int64_t>(number))) {
    fmt::format_to(std::back_inserter(*text_), " {}\n", static_cast<int64_t>(number));
  } else {
    fmt::format_to(std::back_inserter(*text_), " {}\n", number);
  }
}

void MetricsText::sample(std::string_view name, double number, Labels labels) {
  *text_ += name;
  std::string all = common_;
  for (const auto& [key, text] : labels) all += (all.empty() ? "" : ",") + label(key, text);
  if (!all.empty()) *text_ += "{" + all + "}";
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
