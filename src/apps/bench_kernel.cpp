// `quire bench kernel`: every operation of the kernel tables against the machine's roofs, measured in turns in one run.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>
#include <memory>

#include "apps/bench.h"
#include "apps/bench_kernel_cases.h"
#include "apps/bench_rows.h"
#include "apps/load/svg_plot.h"
#include "apps/options.h"
#include "base/error.h"
#include "kernels/roofs.h"
#include "kernels/select.h"
#include "tensor/aligned_buffer.h"

namespace quire {
namespace {

struct KernelOptions {
  std::vector<std::string> operations = kernel_operations();
  std::string shape = "tinyllama-1.1b";
  std::vector<std::string> matrices;
  std::vector<std::string> formats = {"Q4_0", "Q8_0", "Q4_K", "Q6_K", "F16"};
  std::vector<std::string> kv_types = {"f16"};
  std::vector<int64_t> tokens = {1, 4, 16, 128, 512};
  std::vector<int64_t> depths = {512, 4096};
  std::vector<int64_t> sequences = {1};
  std::vector<std::string> isas;
  std::vector<int> threads;
  int rounds = 5;
  double round_ms = 20;
  int64_t megabytes = 320;
  bool processor_time = false;
  bool json = false;
  bool csv = false;
  std::string plot_path;
};

std::pair<int64_t, int64_t> parse_matrix(const std::string& text) {
  int64_t rows = 0, cols = 0;
  const char* const end = text.data() + text.size();
  const auto [cross, rows_error] = std::from_chars(text.data(), end, rows);
  if (rows_error == std::errc() && cross != end && *cross == 'x') {
    const auto [rest, cols_error] = std::from_chars(cross + 1, end, cols);
    const bool is_size = rows > 0 && cols > 0 && rows <= (1 << 20) && cols <= (1 << 20) && cols % 32 == 0;
    if (cols_error == std::errc() && rest == end && is_size) return {rows, cols};
  }
  fail(ErrorCode::kInvalidArgument,
       "--matrix is '{}'; write rows and columns such as 5632x2048, columns a multiple of 32", printable(text, 40));
}

KernelSettings settings_of(const KernelOptions& options) {
  KernelSettings settings;
  settings.operations = options.operations;
  settings.shape = &model_shape(options.shape);
  const ModelShape& shape = *settings.shape;
  for (const std::string& text : options.matrices) settings.matrices.push_back(parse_matrix(text));
  if (options.matrices.empty()) {
    const int64_t q = shape.heads * shape.head_dim;
    settings.matrices = {{q, shape.hidden}, {shape.inner, shape.hidden}, {shape.hidden, shape.inner}};
  }
  for (const std::string& text : options.formats) {
    const auto format = format_by_name(text);
    if (!format || !weight_format(*format).is_weight()) {
      fail(ErrorCode::kInvalidArgument, "--format is '{}'; write names of weight formats such as Q4_0,F16",
           printable(text, 40));
    }
    settings.formats.push_back(*format);
  }
  for (const std::string& text : options.kv_types) {
    const Format format = parse_kv_type(text);
    settings.kv_formats.emplace_back(format, format);
  }
  settings.tokens = options.tokens;
  settings.depths = options.depths;
  settings.sequences = options.sequences;
  settings.cold_bytes = static_cast<size_t>(options.megabytes) << 20;
  return settings;
}

// What one round measured: the roofs, then the kernel.
struct Round {
  double seconds;     // of one call
  double read;        // the read roof, bytes/s
  double operations;  // the roof of the operation's arithmetic, per second
};

struct Measurement {
  KernelCase what;  // its call is gone
  const char* isa;
  int threads;
  std::vector<Round> rounds;

  // The median over the rounds of a figure that one round gives.
  template <typename F>
  double median(const F& figure) const {
    std::vector<double> values;
    for (const Round& round : rounds) values.push_back(figure(round));
    return median_of(std::move(values));
  }
  double seconds() const {
    return median([](const Round& round) { return round.seconds; });
  }
  double bytes_per_second() const { return what.bytes / seconds(); }
  double operations_per_second() const { return what.operations / seconds(); }
  double intensity() const { return what.operations / what.bytes; }
  double read_share() const {
    return median([&](const Round& round) { return what.bytes / round.seconds / round.read; });
  }
  double operations_share() const {
    return median([&](const Round& round) {
      return round.operations > 0 ? what.operations / round.seconds / round.operations : 0.0;
    });
  }
  // Of what the roofline allows: the nearer of both roofs.
  double roof_share() const { return std::max(read_share(), operations_share()); }
};

class Bench {
 public:
  Bench(const KernelOptions& options, const Kernels& table, int num_threads, std::span<const std::byte> memory)
      : options_(options),
        table_(table),
        pool_(num_threads),
        clock_(options.processor_time ? processor_now_s : now_s),
        meter_(pool_, table, clock_),
        memory_(memory) {}

  void run(const KernelSettings& settings, const std::function<void(Measurement)>& take) {
    for_each_case(settings, table_, pool_, [&](const KernelCase& what) { take(measure(what)); });
  }

 private:
  Measurement measure(const KernelCase& what) {
    Measurement measurement{.what = what, .isa = table_.name, .threads = pool_.num_threads(), .rounds = {}};
    measurement.what.call = nullptr;
    what.call();
    const double start = clock_();
    what.call();
    const double once = std::max(clock_() - start, 1e-7);
    const int num_calls = static_cast<int>(std::clamp(options_.round_ms / 1000 / once, 1.0, 1e5));
    for (int i = 0; i < options_.rounds; ++i) measurement.rounds.push_back(round(what, num_calls));
    return measurement;
  }

  Round round(const KernelCase& what, int num_calls) {
    Round round{};
    if (what.is_from_memory) round.read = meter_.read(memory_);
    if (what.operations > 0) round.operations = what.is_integer ? meter_.dot() : meter_.multiply_add();
    const double start = clock_();
    for (int i = 0; i < num_calls; ++i) what.call();
    round.seconds = (clock_() - start) / num_calls;
    return round;
  }

  const KernelOptions& options_;
  const Kernels& table_;
  ThreadPool pool_;
  RoofMeter::Clock clock_;
  RoofMeter meter_;
  std::span<const std::byte> memory_;
};

// ---- results ------------------------------------------------------------------------------------------------------

json::object row_of(const Measurement& m) {
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
  row["microseconds"] = m.seconds() * 1e6;
  row["gb_per_second"] = m.bytes_per_second() * 1e-9;
  row["gop_per_second"] = m.operations_per_second() * 1e-9;
  row["operations_per_byte"] = m.intensity();
  row["read_roof_gb_per_second"] = m.median([](const Round& round) { return round.read; }) * 1e-9;
  row["operations_roof_gop_per_second"] = m.median([](const Round& round) { return round.operations; }) * 1e-9;
  row["read_share"] = m.what.is_from_memory ? m.read_share() : 0.0;
  row["operations_share"] = m.operations_share();
  row["roof_share"] = m.what.is_from_memory ? m.roof_share() : 0.0;
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

void print_line(const Measurement& m) {
  const auto share = [](double value) { return value > 0 ? fmt::format("{:.0f} %", 100 * value) : std::string("-"); };
  fmt::print("{:<48}{:>11.1f} us {:>8.2f} GB/s {:>6}", m.what.text(), m.seconds() * 1e6, m.bytes_per_second() * 1e-9,
             m.what.is_from_memory ? share(m.read_share()) : "-");
  if (m.what.operations > 0) {
    fmt::print(" {:>9.1f} Gop/s {:>6}", m.operations_per_second() * 1e-9, share(m.operations_share()));
  }
  fmt::print("\n");
  std::fflush(stdout);
}

// ---- the roofline (Williams, Waterman and Patterson 2009) ---------------------------------------------------------

double median_roof(const std::vector<const Measurement*>& all, double Round::*roof, bool is_integer) {
  std::vector<double> values;
  for (const Measurement* m : all) {
    if (roof == &Round::operations && m->what.is_integer != is_integer) continue;
    for (const Round& round : m->rounds) {
      if (round.*roof > 0) values.push_back(round.*roof * 1e-9);
    }
  }
  return values.empty() ? 0.0 : median_of(std::move(values));
}

load::Panel roofline(const std::string& title, const std::vector<const Measurement*>& all) {
  load::Panel panel{.title = title,
                    .x_label = "operations per byte of weights, K and V",
                    .y_label = "Gop/s",
                    .has_log_x = true,
                    .has_log_y = true,
                    .series = {}};
  const double read = median_roof(all, &Round::read, false);
  double low = 1e9, high = 0;
  std::map<std::string, load::Series> by_name;
  for (const Measurement* m : all) {
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
    const double operations = median_roof(all, &Round::operations, is_integer);
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

void write_plot(const KernelOptions& options, const std::vector<Measurement>& measurements) {
  std::map<std::string, std::vector<const Measurement*>> by_panel;
  for (const Measurement& m : measurements) {
    if (m.what.operations <= 0) continue;
    by_panel[fmt::format("{}, {} {}", m.isa, m.threads, m.threads == 1 ? "thread" : "threads")].push_back(&m);
  }
  std::vector<load::Panel> panels;
  for (const auto& [title, some] : by_panel) panels.push_back(roofline(title, some));
  std::ofstream file(options.plot_path);
  if (!(file << load::draw_svg("Kernels of " + options.shape + " under the roofline; labels are tokens", panels))
           .flush()) {
    fail(ErrorCode::kIo, "'{}' cannot be written", printable(options.plot_path));
  }
}

void bench_kernel(const KernelOptions& options) {
  std::vector<int> threads = options.threads;
  if (threads.empty()) threads = {available_processors()};
  if (options.processor_time && threads != std::vector<int>{1}) {
    fail(ErrorCode::kInvalidArgument, "--processor-time is that of one thread; add --threads 1");
  }
  const KernelSettings settings = settings_of(options);
  std::vector<std::string> isas = options.isas;
  if (isas.empty()) isas.emplace_back();
  AlignedBuffer memory(settings.cold_bytes);
  std::fill(memory.as<std::byte>().begin(), memory.as<std::byte>().end(), std::byte{1});  // pages of its own
  std::vector<Measurement> measurements;
  json::array rows;
  for (const std::string& isa : isas) {
    const Kernels& table = select_kernels(isa);
    for (const int count : threads) {
      if (!options.json && !options.csv)
        fmt::print("{}, {} {}\n", table.name, count, count == 1 ? "thread" : "threads");
      Bench(options, table, count, memory.as<std::byte>()).run(settings, [&](Measurement m) {
        rows.push_back(row_of(m));
        const json::object& row = rows.back().get_object();
        if (options.csv && rows.size() == 1) fmt::print("{}\n", csv_line(row, true));
        if (options.csv) fmt::print("{}\n", csv_line(row, false));
        if (!options.csv && !options.json) print_line(m);
        measurements.push_back(std::move(m));
      });
    }
  }
  if (options.json) fmt::print("{}\n", json::serialize(rows));
  if (!options.plot_path.empty()) write_plot(options, measurements);
}

void add_what(CLI::App& command, KernelOptions& options) {
  const CLI::Range sizes(1, 1 << 20);
  add_list(command, "--op", options.operations, "Operations of the kernel table, several with commas (default: all)")
      ->check(CLI::IsMember(kernel_operations()).description(""));
  command.add_option("--shape", options.shape, "Sizes of this model")->capture_default_str();
  add_list(command, "--matrix", options.matrices, "Matrices such as 5632x2048 instead of the shape's");
  add_list(command, "--format", options.formats, "Formats of the weights")->default_str("Q4_0,Q8_0,Q4_K,Q6_K,F16");
  add_list(command, "--kv-type", options.kv_types, "Types of K and V")->default_str("f16");
  add_list(command, "--tokens", options.tokens, "Rows of a batch; attention_prefill takes those of 64 and more")
      ->check(sizes)
      ->default_str("1,4,16,128,512");
  add_list(command, "--depth", options.depths, "Positions that attention_decode reads")
      ->check(sizes)
      ->default_str("512,4096");
  add_list(command, "--sequences", options.sequences, "Sequences of attention_decode")->check(sizes)->default_str("1");
}

void add_how(CLI::App& command, KernelOptions& options) {
  add_list(command, "--isa", options.isas, "Kernel tables (default: the best here)");
  add_list(command, "-t,--threads", options.threads, "Numbers of threads (default: every processor)")
      ->check(CLI::Range(1, 1024));
  command.add_option("--rounds", options.rounds, "Rounds of roof and kernel; medians count")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command.add_option("--round-ms", options.round_ms, "Milliseconds of calls in a round")
      ->check(CLI::Range(0.0, 1e5))
      ->capture_default_str();
  command
      .add_option("--megabytes", options.megabytes,
                  "MiB of weights, of K and V, and of the read roof: far more than the caches hold")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command.add_flag("--processor-time", options.processor_time,
                   "Processor time instead of the wall clock, for one thread on a busy machine");
  CLI::Option* const as_json = command.add_flag("--json", options.json, "Print JSON");
  command.add_flag("--csv", options.csv, "Print comma-separated values")->excludes(as_json);
  command.add_option("--plot", options.plot_path, "Draw a roofline plot into this SVG file");
}

}  // namespace

void add_bench_kernel_command(CLI::App& bench) {
  CLI::App* command =
      bench.add_subcommand("kernel", "Measure operations of the kernel tables against the machine's roofs");
  const auto options = std::make_shared<KernelOptions>();
  add_what(*command, *options);
  add_how(*command, *options);
  command->callback([options] { bench_kernel(*options); });
}

}  // namespace quire
