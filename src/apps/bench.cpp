// `quire bench` and its sub-commands. Without one of them it is `offline`.

#include "apps/bench.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "apps/bench_rows.h"
#include "apps/commands.h"
#include "apps/flags/values.h"
#include "models/synthetic/synthetic_checkpoint.h"

namespace quire {
namespace {

void add_compare_command(Command& bench) {
  struct Options {
    std::string a, b;
    std::vector<std::string> across;
  };
  Command& command =
      bench.add_command("compare", "Compare two files that 'bench roof', 'kernel' or 'offline' --json wrote");
  const auto options = std::make_shared<Options>();
  command.add(
      {{.names = "A", .value = text(options->a, "FILE"), .help = "JSON file of the first run", .is_required = true},
       {.names = "B", .value = text(options->b, "FILE"), .help = "JSON file of the second run", .is_required = true},
       {.names = "--across",
        .value = words(options->across, {"model", "isa", "threads"}),
        .help = "Compare measurements that differ in this: model, isa or threads"}});
  command.on_run([options] { fmt::print("{}", compare_rows(options->a, options->b, options->across)); });
}

void add_weights_command(Command& bench) {
  struct Options {
    std::string shape, format = "Q4_0", path;
  };
  Command& command = bench.add_command("weights", "Write random weights of a model's shape as a GGUF file");
  const auto options = std::make_shared<Options>();
  command.add({{.names = "--shape",
                .value = text(options->shape, "NAME"),
                .help = "The model, such as llama-3.2-1b",
                .is_required = true},
               {.names = "--format", .value = text(options->format, "FORMAT"), .help = "Format of the weights"},
               {.names = "-o,--output",
                .value = text(options->path, "FILE"),
                .help = "The file to write",
                .is_required = true}});
  command.on_run([options] { write_synthetic_gguf(model_shape(options->shape), options->format, options->path); });
}

}  // namespace

void add_bench_command(Command& program) {
  Command& command = program.add_command("bench", "Measure a model (bench MODEL), kernels, the machine or a server");
  command.on_run(add_offline_options(command));
  Command& offline = command.add_command(
      "offline", "The same as 'bench MODEL': prefill and decode for every combination of length, depth and batch");
  offline.on_run(add_offline_options(offline));
  add_bench_kernel_command(command);
  add_bench_roof_command(command);
  add_compare_command(command);
  add_weights_command(command);
  add_bench_serve_command(command);
  add_bench_batch_command(command);
  add_bench_speculation_command(command);
  add_bench_grammar_command(command);
}

}  // namespace quire
