// Command line flags of drawn workloads, for every command that draws requests: `bench serve`, `bench batch` and
// `simulate`.
#pragma once

#include <cstdint>
#include <string>

#include "apps/flags/command.h"
#include "measure/workload.h"

namespace quire {

struct LengthOptions {
  int64_t prefix_tokens = 0;
  std::string input = "128";
  std::string output = "64";
  uint64_t seed = 1;

  void add(Command& command, const std::string& group);
  // Sets all but the seed, which each command derives by itself. Throws Error naming the flag.
  void apply_to(load::WorkloadOptions& workload) const;
};

struct TraceOptions {
  std::string path;
  double speed = 1.0;

  void add(Command& command, const std::string& group);
  // Reads as many rows as the workload has requests; nothing without a path.
  void apply_to(load::WorkloadOptions& workload) const;
  // Whether the trace says when requests arrive, not only how long they are.
  bool has_times() const { return !path.empty() && !path.ends_with(".json"); }
};

}  // namespace quire
