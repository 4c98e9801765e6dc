// `quire bench roof`: what the machine can do at most.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "apps/bench.h"
#include "apps/bench_rows.h"
#include "apps/flags/values.h"
#include "apps/options.h"
#include "base/cgroup.h"
#include "base/error.h"
#include "kernels/roofs.h"
#include "kernels/select.h"
#include "tensor/aligned_buffer.h"

namespace quire {
namespace {

struct RoofOptions {
  std::vector<int> threads;
  std::string isa;
  int64_t megabytes = 512;
  int passes = 9;
  bool json = false;
};

struct RoofResult {
  const char* name;
  const char* unit;
  double scale;  // to the unit
  std::vector<double> values;
  double median() const { return median_of(values) * scale; }
  double best() const { return *std::max_element(values.begin(), values.end()) * scale; }
};

// Measures them in turns, so that other load on the machine disturbs all of them.
std::vector<RoofResult> measure(const RoofMeter& meter, std::span<const std::byte> memory, int passes) {
  std::vector<RoofResult> results = {{"read", "GB/s", 1e-9, {}},
                                     {"int8 dot products", "Gop/s", 1e-9, {}},
                                     {"FP32 multiply-adds", "Gflop/s", 1e-9, {}}};
  const bool has_cached_dot = meter.cached_dot() > 0;
  if (has_cached_dot) results.push_back({"int8 from L2", "Gop/s", 1e-9, {}});
  for (int i = 0; i < passes; ++i) {
    results[0].values.push_back(meter.read(memory));
    results[1].values.push_back(meter.dot());
    results[2].values.push_back(meter.multiply_add());
    if (has_cached_dot) results[3].values.push_back(meter.cached_dot());
  }
  return results;
}

void bench_roof(const RoofOptions& options) {
  const Kernels& table = select_kernels(options.isa);
  AlignedBuffer memory(static_cast<size_t>(options.megabytes) << 20);
  std::fill(memory.as<std::byte>().begin(), memory.as<std::byte>().end(),
            std::byte{1});  // so that each page has memory
  std::vector<int> threads = options.threads;
  if (threads.empty()) threads = {1};
  if (options.threads.empty() && available_processors() > 1) threads.push_back(available_processors());
  json::array rows;
  if (!options.json)
    fmt::print("{:<9}{:<21}{:>10}{:>10}   ({}, {} passes)\n", "threads", "", "best", "median", table.name,
               options.passes);
  for (const int count : threads) {
    ThreadPool pool(count);
    for (const RoofResult& result : measure(RoofMeter(pool, table), memory.as<std::byte>(), options.passes)) {
      json::object row = bench_row("roof", result.name, result.best(), result.unit);
      row["median"] = result.median();
      row["isa"] = table.name;
      row["threads"] = count;
      rows.push_back(std::move(row));
      if (!options.json)
        fmt::print("{:<9}{:<21}{:>10.1f}{:>10.1f}   {}\n", count, result.name, result.best(), result.median(),
                   result.unit);
    }
  }
  if (options.json) fmt::print("{}\n", json::serialize(rows));
}

}  // namespace

void add_bench_roof_command(Command& bench) {
  Command& command =
      bench.add_command("roof", "Measure what the machine can do at most: reading memory, int8 and FP32 arithmetic");
  const auto options = std::make_shared<RoofOptions>();
  command.add({{.names = "-t,--threads",
                .value = numbers(options->threads, 1, 1024),
                .help = "Numbers of threads, with commas between",
                .default_text = "1 and every processor"},
               {.names = "--isa",
                .value = text(options->isa, "NAME"),
                .help = "Instructions of this kernel table",
                .default_text = "the best that runs here"},
               {.names = "--megabytes",
                .value = number(options->megabytes, 1, 1 << 20),
                .help = "MiB of memory to read, far more than the caches hold"},
               {.names = "--passes",
                .value = number(options->passes, 1, 10000),
                .help = "Times that each is measured, in turns"},
               {.names = "--json", .value = on_off(options->json), .help = "Print JSON"}});
  command.on_run([options] { bench_roof(*options); });
}

}  // namespace quire
