#include "apps/workload_options.h"

namespace quire {

void LengthOptions::add(CLI::App& app, const std::string& group) {
  const std::string form = "N, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA:MOST";
  app.add_option("--prefix-len,--shared", prefix_tokens, "Tokens that all prompts begin with")
      ->check(CLI::Range(int64_t{0}, load::Lengths::kMost))
      ->group(group);
  app.add_option("--input-len", input, "Own tokens behind the prefix: " + form)->capture_default_str()->group(group);
  app.add_option("--output-len", output, "Tokens to generate: " + form)->capture_default_str()->group(group);
  app.add_option("-s,--seed", seed, "The same seed repeats arrivals, lengths and own tokens")
      ->capture_default_str()
      ->group(group);
}

void LengthOptions::apply_to(load::WorkloadOptions& workload) const {
  workload.prefix_tokens = prefix_tokens;
  workload.input = load::Lengths::parse(input, "--input-len");
  workload.output = load::Lengths::parse(output, "--output-len");
}

void TraceOptions::add(CLI::App& app, const std::string& group) {
  app.add_option("--trace", path, "CSV of TIMESTAMP,ContextTokens,GeneratedTokens, or JSON of [input, output] pairs")
      ->group(group);
  app.add_option("--trace-speed", speed, "2 replays a trace twice as fast")->check(CLI::Range(1e-6, 1e6))->group(group);
}

void TraceOptions::apply_to(load::WorkloadOptions& workload) const {
  workload.trace_speed = speed;
  if (!path.empty()) workload.trace = load::read_trace(path, static_cast<size_t>(workload.num_requests));
}

}  // namespace quire
