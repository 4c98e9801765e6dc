#include "apps/workload_options.h"

#include "apps/flags/values.h"

namespace quire {

void LengthOptions::add(Command& command, const std::string& group) {
  const std::string form = "N, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA:MAX";
  command.add({.title = group},
              {{.names = "--prefix-len,--shared",
                .value = number(prefix_tokens, 0, load::Lengths::kMax),
                .help = "Tokens at the beginning that all prompts share"},
               {.names = "--input-len",
                .value = text(input, "LENGTH"),
                .help = "Tokens of each prompt after the shared prefix: " + form},
               {.names = "--output-len", .value = text(output, "LENGTH"), .help = "Tokens to generate: " + form},
               {.names = "-s,--seed",
                .value = number(seed),
                .help = "The same seed repeats arrivals, lengths and the tokens of the prompts"}});
}

void LengthOptions::apply_to(load::WorkloadOptions& workload) const {
  workload.prefix_tokens = prefix_tokens;
  workload.input = load::Lengths::parse(input, "--input-len");
  workload.output = load::Lengths::parse(output, "--output-len");
}

void TraceOptions::add(Command& command, const std::string& group) {
  command.add({.title = group}, {{.names = "--trace",
                                  .value = text(path, "FILE"),
                                  .help = "Take the lengths from a file: CSV of "
                                          "TIMESTAMP,ContextTokens,GeneratedTokens, or JSON of [input, output] pairs"},
                                 {.names = "--trace-speed",
                                  .value = real(speed, 1e-6, 1e6),
                                  .help = "Speed at which the times of a trace are replayed; 2 is twice as fast"}});
}

void TraceOptions::apply_to(load::WorkloadOptions& workload) const {
  workload.trace_speed = speed;
  if (!path.empty()) workload.trace = load::read_trace(path, static_cast<size_t>(workload.num_requests));
}

}  // namespace quire
