#include "apps/bench_kernel_results.h"

#include <fmt/format.h>

#include <fstream>
#include <map>

#include "base/error.h"
#include "measure/svg_plot.h"

namespace quire {
namespace {

double median_roof(const std::vector<const KernelMeasurement*>& all, double KernelRound::*roof, bool is_integer) {
  std::vector<double> values;
  for (const KernelMeasurement* m : all) {
    if (roof == &KernelRound::operations && m->what.is_integer != is_integer) continue;
    for (const KernelRound& round : m->rounds) {
      if (round.*roof > 0) values.push_back(round.*roof * 1e-9);
    }
  }
  return values.empty() ? 0.0 : median_of(std::move(values));
}

load::Panel roofline(const std::string& title, const std::vector<const KernelMeasurement*>& all) {
  load::Panel panel{.title = title,
                    .x_label = "operations per byte of weights, K and V",
                    .y_label = "Gop/s",
                    .has_log_x = true,
                    .has_log_y = true,
                    .series = {}};
  const double read = median_roof(all, &KernelRound::read, false);
  double low = 1e9, high = 0;
  std::map<std::string, load::Series> by_name;
  for (const KernelMeasurement* m : all) {
    low = std::min(low, m->intensity());
    high = std::max(high, m->intensity());
    const std::string name = fmt::format("{} {}", m->what.operation, m->what.format);
    load::Series& series = by_name[name];
    series.name = name;
    series.has_line = false;
    series.has_markers = true;
    series.x.push_back(m->intensity());
    series.y.push_back(m->operations_per_second() * 1e-9);
    series.labels.push_back(m->what.depth > 0 ? fmt::format("@{}", m->what.depth + 1)
                                              : fmt::format("{}", m->what.tokens));
  }
  low /= 2, high *= 2;
  for (const bool is_integer : {true, false}) {
    const double operations = median_roof(all, &KernelRound::operations, is_integer);
    if (operations <= 0 || read <= 0) continue;
    const double ridge = operations / read;
    load::Series roof{
        .name = fmt::format("{}: {:.0f} Gop/s, {:.1f} GB/s", is_integer ? "int8" : "FP32", operations, read),
        .is_dashed = !is_integer,
        .is_guide = true};
    if (low < ridge) roof.x = {low}, roof.y = {low * read};
    roof.x.insert(roof.x.end(), {std::max(low, ridge), std::max(ridge, high)});
    roof.y.insert(roof.y.end(), {operations, operations});
    panel.series.push_back(std::move(roof));
  }
  for (auto& [name, series] : by_name) panel.series.push_back(std::move(series));
  return panel;
}

}  // namespace

json::object row_of(const KernelMeasurement& m) {
  const bool has_operations = m.what.operations > 0;
  json::object row = has_operations ? bench_row("kernel", m.what.text(), m.operations_per_second() * 1e-9, "Gop/s")
                                    : bench_row("kernel", m.what.text(), m.bytes_per_second() * 1e-9, "GB/s");
  row["isa"] = m.isa;
  row["threads"] = m.threads;
  row["operation"] = m.what.operation;
  row["format"] = m.what.format;
  row["shape"] = m.what.shape;
  row["tokens"] = m.what.tokens;
  row["depth"] = m.what.depth;
  row["shared_prefix"] = m.what.shared;
  row["microseconds"] = m.seconds() * 1e6;
  row["gb_per_second"] = m.bytes_per_second() * 1e-9;
  row["gop_per_second"] = m.operations_per_second() * 1e-9;
  row["operations_per_byte"] = m.intensity();
  row["read_roof_gb_per_second"] = m.median([](const KernelRound& round) { return round.read; }) * 1e-9;
  row["operations_roof_gop_per_second"] = m.median([](const KernelRound& round) { return round.operations; }) * 1e-9;
  row["read_share"] = m.what.is_from_memory ? m.read_share() : 0.0;
  row["operations_share"] = m.operations_share();
  row["roof_share"] = m.what.is_from_memory ? m.roof_share() : 0.0;
  row["against"] = m.what.against;
  row["speedup"] = m.what.against.empty() ? 0.0 : m.speedup();
  return row;
}

std::string csv_line(const json::object& row, bool is_header) {
  std::string line;
  for (const auto& [key, value] : row) {
    std::string text = is_header ? std::string(key) : json::serialize(value);
    if (text.find(',') == std::string::npos) std::erase(text, '"');
    line += (line.empty() ? "" : ",") + text;
  }
  return line;
}

void print_line(const KernelMeasurement& m) {
  const auto share = [](double value) { return value > 0 ? fmt::format("{:.0f} %", 100 * value) : std::string("-"); };
  fmt::print("{:<48}{:>11.1f} us {:>8.2f} GB/s {:>6}", m.what.text(), m.seconds() * 1e6, m.bytes_per_second() * 1e-9,
             m.what.is_from_memory ? share(m.read_share()) : "-");
  if (m.what.operations > 0) {
    fmt::print(" {:>9.1f} Gop/s {:>6}", m.operations_per_second() * 1e-9, share(m.operations_share()));
  }
  if (!m.what.against.empty()) fmt::print("   {:.2f} x the speed of {}", m.speedup(), m.what.against);
  fmt::print("\n");
  std::fflush(stdout);
}

void write_roofline(const std::string& path, const std::string& title,
                    const std::vector<KernelMeasurement>& measurements) {
  std::map<std::string, std::vector<const KernelMeasurement*>> by_panel;
  for (const KernelMeasurement& m : measurements) {
    if (m.what.operations <= 0) continue;
    by_panel[fmt::format("{}, {} {}", m.isa, m.threads, m.threads == 1 ? "thread" : "threads")].push_back(&m);
  }
  std::vector<load::Panel> panels;
  for (const auto& [name, some] : by_panel) panels.push_back(roofline(name, some));
  std::ofstream file(path);
  if (!(file << load::draw_svg(title, panels)).flush()) {
    fail(ErrorCode::kIo, "'{}' cannot be written", printable(path));
  }
}

}  // namespace quire
