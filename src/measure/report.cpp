#include "measure/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "measure/svg_plot.h"

namespace quire::load {
namespace {

constexpr std::string_view kKind = "quire bench serve";
constexpr size_t kMaxReportBytes = size_t{64} << 20;
constexpr size_t kMaxCurves = 8;  // one for each colour

struct Metric {
  const char* name;
  const char* key;
  const char* part;  // of a distribution; null: a plain number
};

constexpr Metric kMetrics[] = {{"requests/s", "requests_per_second", nullptr},
                               {"output tokens/s", "output_tokens_per_second", nullptr},
                               {"goodput requests/s", "goodput_requests_per_second", nullptr},
                               {"TTFT mean ms", "ttft_ms", "mean"},
                               {"TTFT p50 ms", "ttft_ms", "p50"},
                               {"TTFT p99 ms", "ttft_ms", "p99"},
                               {"TPOT mean ms", "tpot_ms", "mean"},
                               {"TPOT p50 ms", "tpot_ms", "p50"},
                               {"TPOT p99 ms", "tpot_ms", "p99"},
                               {"ITL p99 ms", "itl_ms", "p99"},
                               {"ITL max ms", "itl_ms", "max"},
                               {"answer mean ms", "e2e_ms", "mean"},
                               {"answer p99 ms", "e2e_ms", "p99"},
                               {"requests failed", nullptr, nullptr}};

// Negative: the run has no such number.
double value_of(const json::object& run, const Metric& metric) {
  if (metric.key == nullptr) return static_cast<double>(get_int(run, "requests") - get_int(run, "ok"));
  if (metric.part == nullptr) return find_double(run, metric.key, -1);
  const json::object* values = find_object(run, metric.key);
  return values == nullptr || find_int(*values, "count", 0) == 0 ? -1 : find_double(*values, metric.part, -1);
}

json::array read_runs(const std::string& path) {
  const json::value report = read_json_file(path, kMaxReportBytes);
  const json::object* object = report.if_object();
  const json::array* runs = object != nullptr ? find_array(*object, "runs") : nullptr;
  if (runs == nullptr || find_string(*object, "kind", "") != kKind) {
    fail(ErrorCode::kCorrupt, "{} is not a report of 'quire bench serve --json'", path);
  }
  return *runs;
}

Series line(const char* name, const std::vector<Run>& runs, double (*value)(const LoadSummary&)) {
  Series series{.name = name, .x = {}, .y = {}, .has_markers = true};
  for (const Run& run : runs) {
    series.x.push_back(run.summary.rate > 0 ? run.summary.rate : static_cast<double>(run.summary.concurrency));
    series.y.push_back(value(run.summary));
  }
  return series;
}

Panel latency_panel(const std::vector<Run>& runs, const char* x_label) {
  Panel panel{.title = "Latency", .x_label = x_label, .y_label = "milliseconds", .has_log_y = true, .series = {}};
  panel.series.push_back(line("TTFT p50", runs, [](const LoadSummary& run) { return run.ttft.p50; }));
  panel.series.push_back(line("TTFT p99", runs, [](const LoadSummary& run) { return run.ttft.p99; }));
  panel.series.push_back(line("TPOT p50", runs, [](const LoadSummary& run) { return run.tpot.p50; }));
  panel.series.push_back(line("TPOT p99", runs, [](const LoadSummary& run) { return run.tpot.p99; }));
  panel.series.push_back(line("answer p50", runs, [](const LoadSummary& run) { return run.e2e.p50; }));
  panel.series.push_back(line("answer p99", runs, [](const LoadSummary& run) { return run.e2e.p99; }));
  return panel;
}

Panel throughput_panel(const std::vector<Run>& runs, const char* x_label) {
  Panel panel{.title = "Throughput", .x_label = x_label, .y_label = "requests/s served", .series = {}};
  panel.series.push_back(line("served", runs, [](const LoadSummary& run) { return run.per_second(run.num_ok); }));
  if (runs.front().summary.has_objective) {
    panel.series.push_back(line("goodput", runs, [](const LoadSummary& run) { return run.per_second(run.num_good); }));
  }
  if (runs.front().summary.rate > 0) {
    Series offered{.name = "offered", .x = {0.0}, .y = {0.0}, .is_dashed = true};
    const double most = std::max_element(panel.series.front().y.begin(), panel.series.front().y.end()).operator*();
    offered.x.push_back(std::min(runs.back().summary.rate, 1.25 * most));
    offered.y.push_back(offered.x.back());
    panel.series.push_back(std::move(offered));
  }
  return panel;
}

Panel distribution_panel(const char* title, const std::vector<Run>& runs, std::vector<double> Samples::*values) {
  Panel panel{.title = title, .x_label = "milliseconds", .y_label = "% of all", .has_log_x = true, .series = {}};
  for (size_t i = 0; i < std::min(runs.size(), kMaxCurves); ++i) {
    panel.series.push_back(cumulative(runs[i].summary.label, runs[i].samples.*values));
  }
  return panel;
}

}  // namespace

int64_t find_knee(const std::vector<Run>& runs) {
  std::vector<double> offered, served;
  for (const Run& run : runs) {
    if (run.summary.rate <= 0) return -1;
    offered.push_back(run.summary.rate);
    served.push_back(run.summary.per_second(run.summary.num_ok));
  }
  return find_knee(offered, served);
}

json::object report_json(const json::object& workload, const std::vector<Run>& runs) {
  json::array array;
  for (const Run& run : runs) array.push_back(to_json(run.summary));
  json::object report = {{"kind", kKind}, {"version", 1}, {"workload", workload}, {"runs", std::move(array)}};
  if (const int64_t knee = find_knee(runs); knee >= 0) {
    report["knee_requests_per_second"] = runs[static_cast<size_t>(knee)].summary.rate;
  }
  return report;
}

std::string report_svg(const std::string& title, const std::vector<Run>& runs) {
  std::vector<Panel> panels;
  if (runs.size() > 1) {
    const char* x_label = runs.front().summary.rate > 0 ? "requests/s offered" : "clients";
    panels.push_back(latency_panel(runs, x_label));
    panels.push_back(throughput_panel(runs, x_label));
    if (const int64_t knee = find_knee(runs); knee >= 0) {
      const LoadSummary& at = runs[static_cast<size_t>(knee)].summary;
      for (Panel& panel : panels) {
        panel.mark_x = at.rate;
        panel.mark_label = fmt::format("knee: {:g}/s offered, {:.2f}/s served", at.rate, at.per_second(at.num_ok));
      }
    }
  }
  panels.push_back(distribution_panel("Time to first token (TTFT), cumulative", runs, &Samples::ttft_ms));
  panels.push_back(distribution_panel("Gaps between tokens (ITL), cumulative", runs, &Samples::itl_ms));
  return draw_svg(title, panels);
}

std::string compare_reports(const std::string& path_a, const std::string& path_b) {
  const json::array runs_a = read_runs(path_a);
  const json::array runs_b = read_runs(path_b);
  std::string out = fmt::format("A: {}\nB: {}\n", path_a, path_b);
  int64_t num_matched = 0;
  for (const json::value& a : runs_a) {
    const std::string label = get_string(a.as_object(), "label");
    const auto b = std::find_if(runs_b.begin(), runs_b.end(),
                                [&](const json::value& run) { return get_string(run.as_object(), "label") == label; });
    if (b == runs_b.end()) continue;
    ++num_matched;
    out += fmt::format("\n{:<22}{:>12}{:>12}{:>10}\n", label, "A", "B", "B / A");
    for (const Metric& metric : kMetrics) {
      const double value_a = value_of(a.as_object(), metric);
      const double value_b = value_of(b->as_object(), metric);
      if (value_a < 0 || value_b < 0) continue;
      out += fmt::format("{:<22}{:>12.2f}{:>12.2f}{:>10}\n", metric.name, value_a, value_b,
                         value_a > 0 ? fmt::format("{:.3f}", value_b / value_a) : "-");
    }
  }
  if (num_matched == 0) fail(ErrorCode::kInvalidArgument, "{} and {} have no rate in common", path_a, path_b);
  return out;
}

}  // namespace quire::load
