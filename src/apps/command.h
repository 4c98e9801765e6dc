// The commands of the program. Each registers itself on the command line and returns the function that runs it;
// main.cpp holds the list.
#pragma once

#include <CLI/CLI.hpp>

namespace quire {

void add_run_command(CLI::App& program);
void add_serve_command(CLI::App& program);
void add_info_command(CLI::App& program);
void add_plan_command(CLI::App& program);
void add_tokenize_command(CLI::App& program);
void add_detokenize_command(CLI::App& program);
void add_logits_command(CLI::App& program);
void add_perplexity_command(CLI::App& program);
void add_bench_command(CLI::App& program);
void add_tune_command(CLI::App& program);
void add_simulate_command(CLI::App& program);
void add_man_command(CLI::App& program);
void add_completion_command(CLI::App& program);

}  // namespace quire
