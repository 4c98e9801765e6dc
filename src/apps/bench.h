// The sub-commands of `quire bench`. Each registers itself; bench.cpp holds the list.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>

namespace quire {

void add_bench_roof_command(CLI::App& bench);
void add_bench_kernel_command(CLI::App& bench);
void add_bench_serve_command(CLI::App& bench);
void add_bench_batch_command(CLI::App& bench);

// All flags of the offline benchmark, and the function that runs it: `bench offline`, and `bench` itself.
std::function<void()> add_offline_options(CLI::App& app);

}  // namespace quire
