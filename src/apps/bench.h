// The sub-commands of `quire bench`. Each registers itself; bench.cpp holds the list.
#pragma once

#include <CLI/CLI.hpp>

namespace quire {

void add_bench_serve_command(CLI::App& bench);
void add_bench_batch_command(CLI::App& bench);

}  // namespace quire
