// The sub-commands of `quire bench`. Each registers itself; bench.cpp holds the list.
#pragma once

#include <functional>

namespace quire {

class Command;

void add_bench_roof_command(Command& bench);
void add_bench_kernel_command(Command& bench);
void add_bench_serve_command(Command& bench);
void add_bench_batch_command(Command& bench);
void add_bench_speculation_command(Command& bench);
void add_bench_grammar_command(Command& bench);

// All flags of the offline benchmark, and the function that runs it: `bench offline`, and `bench` itself.
std::function<void()> add_offline_options(Command& app);

}  // namespace quire
