// `quire bench kernel`: every operation of the kernel tables against the machine's roofs, measured in turns in one run.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "apps/bench.h"
#include "apps/bench_kernel_cases.h"
#include "apps/bench_kernel_results.h"
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
    fail(ErrorCode::kInvalidArgument, "--processor-time is that of one thread; add --threads 1");
  }
  const KernelSettings settings = settings_of(options);
  std::vector<std::string> isas = options.isas;
  if (isas.empty()) isas.emplace_back();
  AlignedBuffer memory(settings.cold_bytes);
  std::fill(memory.as<std::byte>().begin(), memory.as<std::byte>().end(), std::byte{1});  // pages of its own
  std::vector<KernelMeasurement> measurements;
  json::array rows;
  for (const std::string& isa : isas) {
    const Kernels& table = select_kernels(isa);
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

void add_what(CLI::App& command, KernelOptions& options) {
  const CLI::Range sizes(1, 1 << 20);
  add_list(command, "--op", options.operations, "Operations of the kernel table, several with commas (default: all)")
      ->check(CLI::IsMember(kernel_operations()).description(""));
  command.add_option("--shape", options.shape, "Sizes of this model")->capture_default_str();
  add_list(command, "--matrix", options.matrices, "Matrices such as 5632x2048 instead of the shape's");
  add_list(command, "--format", options.formats, "Formats of the weights")->default_str("Q4_0,Q8_0,Q4_K,Q6_K,F16");
  add_list(command, "--kv-type", options.kv_types, "Types of K and V")->default_str("f16,q8_0,q4_0");
  add_list(command, "--tokens", options.tokens, "Rows of a batch; attention_prefill takes those of 64 and more")
      ->check(sizes)
      ->default_str("1,4,16,128,512");
  add_list(command, "--depth", options.depths, "Positions that attention_decode reads")
      ->check(sizes)
      ->default_str("512,4096");
  add_list(command, "--sequences", options.sequences, "Sequences of attention_decode")->check(sizes)->default_str("1");
  command
      .add_option("--shared-prefix", options.shared_prefix,
                  "Positions of the depth whose KV blocks all sequences share; in turns with sharing off")
      ->check(CLI::Range(0, 1 << 20));
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
