// The commands of the program. Each adds itself to the command line, with its flags and the function that runs it;
// main.cpp holds the list.
#pragma once

namespace quire {

class Command;

void add_run_command(Command& program);
void add_serve_command(Command& program);
void add_info_command(Command& program);
void add_plan_command(Command& program);
void add_tokenize_command(Command& program);
void add_detokenize_command(Command& program);
void add_logits_command(Command& program);
void add_perplexity_command(Command& program);
void add_inspect_command(Command& program);
void add_compress_command(Command& program);
void add_bench_command(Command& program);
void add_tune_command(Command& program);
void add_cache_command(Command& program);
void add_convert_command(Command& program);
void add_simulate_command(Command& program);
void add_man_command(Command& program);
void add_completion_command(Command& program);
void add_version_command(Command& program);
void add_help_command(Command& program);

}  // namespace quire
