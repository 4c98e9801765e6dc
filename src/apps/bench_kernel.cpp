// `quire bench kernel`: every operation of the kernel tables against the machine's roofs, measured in turns in one run.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "apps/bench.h"
#include "apps/bench_kernel_cases.h"
#include "apps/bench_kernel_results.h"
#include "apps/flags/values.h"
#include "apps/options.h"
#include "base/cgroup.h"
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
  std::vector<std::string> kv_types = {"f16", "q8_0", "q4_0"};
  std::vector<int64_t> tokens = {1, 4, 16, 128, 512};
  std::vector<int64_t> depths = {512, 4096};
  std::vector<int64_t> sequences = {1};
  int64_t shared_prefix = 0;
  std::vector<std::string> isas;
  Activations activations = kUsualActivations;
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
    const std::optional<Format> format = find_kv_type(text);
    if (!format) {
      fail(ErrorCode::kInvalidArgument, "--kv-type is '{}'; expected some of {}", printable(text, 40), kKvTypes);
    }
    settings.kv_formats.emplace_back(*format, *format);
  }
  settings.tokens = options.tokens;
  settings.depths = options.depths;
  settings.sequences = options.sequences;
  const int64_t least_depth = *std::min_element(options.depths.begin(), options.depths.end());
  if (options.shared_prefix >= least_depth || options.shared_prefix % kKvBlockSize != 0) {
    fail(ErrorCode::kInvalidArgument,
         "--shared-prefix is {}; write a multiple of {} (sequences share whole KV blocks) below --depth, {}",
         options.shared_prefix, kKvBlockSize, least_depth);
  }
  settings.shared_prefix = options.shared_prefix;
  settings.cold_bytes = static_cast<size_t>(options.megabytes) << 20;
  return settings;
}

class Bench {
 public:
  Bench(const KernelOptions& options, const Kernels& table, int num_threads, std::span<const std::byte> memory)
      : options_(options),
        table_(table),
        pool_(num_threads),
        clock_(options.processor_time ? processor_now_s : now_s),
        meter_(pool_, table, clock_),
        memory_(memory) {}

  void run(const KernelSettings& settings, const std::function<void(KernelMeasurement)>& take) {
    for_each_case(settings, table_, pool_, [&](const KernelCase& what) { take(measure(what)); });
  }

 private:
  KernelMeasurement measure(const KernelCase& what) {
    KernelMeasurement measurement{.what = what, .isa = table_.name, .threads = pool_.num_threads(), .rounds = {}};
    measurement.what.call = measurement.what.against_call = nullptr;
    what.call();
    const double start = clock_();
    what.call();
    const double once = std::max(clock_() - start, 1e-7);
    const int num_calls = static_cast<int>(std::clamp(options_.round_ms / 1000 / once, 1.0, 1e5));
    if (!what.against.empty()) what.against_call();
    for (int i = 0; i < options_.rounds; ++i) measurement.rounds.push_back(round(what, num_calls));
    return measurement;
  }

  KernelRound round(const KernelCase& what, int num_calls) {
    KernelRound round{};
    if (what.is_from_memory) round.read = meter_.read(memory_);
    if (what.operations > 0) round.operations = what.is_integer ? meter_.dot() : meter_.multiply_add();
    round.seconds = seconds(what.call, num_calls);
    if (!what.against.empty()) round.against_seconds = seconds(what.against_call, num_calls);
    return round;
  }

  // Of one call.
  double seconds(const std::function<void()>& call, int num_calls) const {
    const double start = clock_();
    for (int i = 0; i < num_calls; ++i) call();
    return (clock_() - start) / num_calls;
  }

  const KernelOptions& options_;
  const Kernels& table_;
  ThreadPool pool_;
  RoofMeter::Clock clock_;
  RoofMeter meter_;
  std::span<const std::byte> memory_;
};

void bench_kernel(const KernelOptions& options) {
  std::vector<int> threads = options.threads;
  if (threads.empty()) threads = {available_processors()};
  if (options.processor_time && threads != std::vector<int>{1}) {
    fail(ErrorCode::kInvalidArgument, "--processor-time measures one thread; add --threads 1");
  }
  const KernelSettings settings = settings_of(options);
  std::vector<std::string> isas = options.isas;
  if (isas.empty()) isas.emplace_back();
  AlignedBuffer memory(settings.cold_bytes);
  std::fill(memory.as<std::byte>().begin(), memory.as<std::byte>().end(),
            std::byte{1});  // so that each page has memory
  std::vector<KernelMeasurement> measurements;
  json::array rows;
  for (const std::string& isa : isas) {
    const Kernels& table = select_kernels(isa, options.activations);
    for (const int count : threads) {
      if (!options.json && !options.csv)
        fmt::print("{}, {} {}\n", table.name, count, count == 1 ? "thread" : "threads");
      Bench(options, table, count, memory.as<std::byte>()).run(settings, [&](KernelMeasurement m) {
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
  if (options.plot_path.empty()) return;
  write_roofline(options.plot_path, options.shape + " under the roofline, by tokens", measurements);
}

void add_cases(Command& command, KernelOptions& options) {
  constexpr int64_t kMax = 1 << 20;
  command.add(
      {{.names = "--op",
        .value = words(options.operations, kernel_operations()),
        .help = "Operations of the kernel table, with commas between",
        .default_text = "all"},
       {.names = "--shape", .value = text(options.shape, "NAME"), .help = "Use the matrix sizes of this model"},
       {.names = "--matrix",
        .value = words(options.matrices),
        .help = "Matrices such as 5632x2048",
        .default_text = "those of the shape"},
       {.names = "--format", .value = words(options.formats), .help = "Formats of the weights"},
       {.names = "--kv-type", .value = words(options.kv_types), .help = "Types of K and V"},
       {.names = "--tokens",
        .value = numbers(options.tokens, 1, kMax),
        .help = "Rows of a batch; attention_prefill uses only 64 and more"},
       {.names = "--depth", .value = numbers(options.depths, 1, kMax), .help = "Positions that attention_decode reads"},
       {.names = "--sequences", .value = numbers(options.sequences, 1, kMax), .help = "Sequences of attention_decode"},
       {.names = "--shared-prefix",
        .value = number(options.shared_prefix, 0, kMax),
        .help = "Positions of the depth whose KV blocks all sequences share; measured in turns with sharing off"}});
}

void add_method(Command& command, KernelOptions& options) {
  command.add(
      {{.names = "--isa",
        .value = words(options.isas),
        .help = "Kernel tables",
        .default_text = "the best that runs here"},
       {.names = "--activations", .value = activations_value(options.activations), .help = "What matmul multiplies by"},
       {.names = "-t,--threads",
        .value = numbers(options.threads, 1, 1024),
        .help = "Numbers of threads",
        .default_text = "every processor"},
       {.names = "--rounds",
        .value = number(options.rounds, 1, 10000),
        .help = "Rounds, each of the machine's peak rates and the kernel; the median counts"},
       {.names = "--round-ms", .value = real(options.round_ms, 0.0, 1e5), .help = "Milliseconds of calls in a round"},
       {.names = "--megabytes",
        .value = number(options.megabytes, 1, 1 << 20),
        .help = "MiB of weights, of K and V, and of the memory test; must be far more than the caches hold"},
       {.names = "--processor-time",
        .value = on_off(options.processor_time),
        .help = "Measure processor time instead of the wall clock, for one thread on a busy machine"},
       {.names = "--json", .value = on_off(options.json), .help = "Print JSON"},
       {.names = "--csv", .value = on_off(options.csv), .help = "Print comma-separated values", .excludes = "--json"},
       {.names = "--plot",
        .value = text(options.plot_path, "FILE"),
        .help = "Draw a roofline plot into this SVG file"}});
}

}  // namespace

void add_bench_kernel_command(Command& bench) {
  Command& command = bench.add_command("kernel", "Measure operations of the kernel tables against the machine's roofs");
  const auto options = std::make_shared<KernelOptions>();
  add_cases(command, *options);
  add_method(command, *options);
  command.on_run([options] { bench_kernel(*options); });
}

}  // namespace quire
