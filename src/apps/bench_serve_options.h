// The flags of `quire bench serve`, and what they mean for its parts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/flags/command.h"
#include "apps/workload_options.h"
#include "measure/client.h"
#include "measure/summary.h"

namespace quire {

struct BenchServeOptions {
  std::string base_url = "http://127.0.0.1:8080";
  std::string endpoint = "completions";
  load::ClientOptions client;
  std::string extra;
  bool new_connections = false;
  bool stop_at_eos = false;

  std::string arrival;
  std::vector<double> rates = {1};       // requests/s
  std::vector<double> concurrency = {};  // clients of a closed loop; empty: arrivals at the rates
  int64_t num_requests = 100;
  double duration_s = 0;
  TraceOptions trace;
  int64_t warmup = 1;

  LengthOptions lengths;
  int64_t max_input = load::Lengths::kMax;
  int64_t max_output = load::Lengths::kMax;
  int32_t first_id = 1000;
  int32_t last_id = 28999;
  uint64_t prefix_seed = 1;

  load::Objective objective;
  std::string json_path, dump_path, plot_path;
  std::vector<std::string> compare;

  void add(Command& command);
  // Each throws Error for values that do not go together.
  load::WorkloadOptions workload_options() const;
  // The value of each run of a sweep: its rate, its number of clients, or the speed of its trace.
  std::vector<double> choose_steps(load::Arrival chosen) const;
  load::ClientOptions client_options() const;
};

}  // namespace quire
