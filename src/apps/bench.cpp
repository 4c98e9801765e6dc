// `quire bench` and its sub-commands. `offline` is the one meant when none is named.

#include "apps/bench.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "apps/bench_rows.h"
#include "apps/command.h"
#include "models/synthetic/synthetic_checkpoint.h"

namespace quire {
namespace {

void add_compare_command(CLI::App& bench) {
  struct Options {
    std::string a, b;
    std::vector<std::string> across;
  };
  CLI::App* command =
      bench.add_subcommand("compare", "Compare two files that 'bench roof', 'kernel' or 'offline' --json wrote");
  const auto options = std::make_shared<Options>();
  command->add_option("A", options->a, "JSON file of the first run")->required();
  command->add_option("B", options->b, "JSON file of the second run")->required();
  command->add_option("--across", options->across, "Compare measurements that differ in this: model, isa or threads")
      ->check(CLI::IsMember({"model", "isa", "threads"}))
      ->delimiter(',')
      ->allow_extra_args(false);
  command->callback([options] { fmt::print("{}", compare_rows(options->a, options->b, options->across)); });
}

void add_weights_command(CLI::App& bench) {
  struct Options {
    std::string shape, format = "Q4_0", path;
  };
  CLI::App* command = bench.add_subcommand("weights", "Write random weights of a model's shape as a GGUF file");
  const auto options = std::make_shared<Options>();
  command->add_option("--shape", options->shape, "The model, such as llama-3.2-1b")->required();
  command->add_option("--format", options->format, "Format of the weights")->capture_default_str();
  command->add_option("-o,--output", options->path, "The file to write")->required();
  command->callback([options] { write_synthetic_gguf(model_shape(options->shape), options->format, options->path); });
}

}  // namespace

void add_bench_command(CLI::App& program) {
  CLI::App* command =
      program.add_subcommand("bench", "Measure a model (bench MODEL), kernels, the machine or a server");
  const std::function<void()> run_offline = add_offline_options(*command);
  command->callback([command, run_offline] {
    if (command->get_subcommands().empty()) run_offline();
  });
  command->require_subcommand(0, 1);
  CLI::App* offline = command->add_subcommand(
      "offline", "Measure prefill and decode of a model: every prompt, depth and number of sequences asked for");
  offline->callback(add_offline_options(*offline));
  add_bench_kernel_command(*command);
  add_bench_roof_command(*command);
  add_compare_command(*command);
  add_weights_command(*command);
  add_bench_serve_command(*command);
  add_bench_batch_command(*command);
}

}  // namespace quire
