// `quire bench roof`: what the machine can do at most.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "apps/bench.h"
#include "apps/bench_rows.h"
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

// The three in turns, so that a disturbance meets all of them.
std::vector<RoofResult> measure(const RoofMeter& meter, std::span<const std::byte> memory, int passes) {
  std::vector<RoofResult> results = {{"read", "GB/s", 1e-9, {}},
                                     {"int8 dot products", "Gop/s", 1e-9, {}},
                                     {"FP32 multiply-adds", "Gflop/s", 1e-9, {}}};
  for (int i = 0; i < passes; ++i) {
    results[0].values.push_back(meter.read(memory));
    results[1].values.push_back(meter.dot());
    results[2].values.push_back(meter.multiply_add());
  }
  return results;
}

void bench_roof(const RoofOptions& options) {
  const Kernels& table = select_kernels(options.isa);
  AlignedBuffer memory(static_cast<size_t>(options.megabytes) << 20);
  std::fill(memory.as<std::byte>().begin(), memory.as<std::byte>().end(), std::byte{1});  // pages of its own
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

void add_bench_roof_command(CLI::App& bench) {
  CLI::App* command =
      bench.add_subcommand("roof", "Measure what the machine can do at most: reading memory, int8 and FP32 arithmetic");
  const auto options = std::make_shared<RoofOptions>();
  add_list(*command, "-t,--threads", options->threads, "Threads, several with commas (default: 1 and all)")
      ->check(CLI::Range(1, 1024));
  command->add_option("--isa", options->isa, "Instructions of this kernel table (default: the best here)");
  command->add_option("--megabytes", options->megabytes, "MiB of memory to read, far more than the caches hold")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--passes", options->passes, "Times each is measured, in turns")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options] { bench_roof(*options); });
}

}  // namespace quire
