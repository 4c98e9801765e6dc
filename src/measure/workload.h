// Which requests a load test sends and when each is due: decided before the first is sent, from seeds alone, so that
// two servers get the same requests at the same times.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "measure/lengths.h"

namespace quire::load {

enum class Arrival : uint8_t {
  kPoisson,  // independent users: exponential gaps of mean 1 / rate
  kFixed,    // a gap of 1 / rate
  kClosed,   // `concurrency` clients, each sending its next request when the last is answered
  kTrace,    // at the times of a trace
};

const char* name(Arrival arrival);
Arrival parse_arrival(std::string_view text);

struct TraceRow {
  double at_ms = 0;  // after the first row; 0 in a trace of lengths alone
  int64_t input_tokens = 0;
  int64_t output_tokens = 0;
};

// A CSV file with the columns TIMESTAMP, ContextTokens, GeneratedTokens (the public Azure traces), or a JSON array of
// [input, output] pairs. Reads at most `limit` rows. Throws Error with the file and the line.
std::vector<TraceRow> read_trace(const std::string& path, size_t limit);

struct WorkloadOptions {
  Arrival arrival = Arrival::kPoisson;
  double rate = 1.0;  // requests/s
  int64_t num_requests = 100;
  double trace_speed = 1.0;             // 2: a trace runs twice as fast
  std::vector<TraceRow> trace = {};     // lengths and, with kTrace, times; empty: lengths are drawn
  int64_t prefix_tokens = 0;            // shared by all requests
  Lengths input = Lengths::fixed(128);  // own tokens behind the prefix
  Lengths output = Lengths::fixed(64);
  int64_t max_input = Lengths::kMax;  // lengths of a trace are cut to these
  int64_t max_output = Lengths::kMax;
  uint64_t seed = 1;
  uint64_t prefix_seed = 1;  // the prefix depends on this alone
};

struct PlannedRequest {
  double due_ms = 0;         // after the start; 0 in a closed loop
  int64_t input_tokens = 0;  // prefix included
  int64_t output_tokens = 0;
  uint64_t prompt_seed = 0;  // of its own tokens
};

std::vector<PlannedRequest> plan_requests(const WorkloadOptions& options);

// Prompts as token ids in [first_id, last_id], or as words of one or two tokens in most vocabularies.
class PromptMaker {
 public:
  PromptMaker(const WorkloadOptions& options, int32_t first_id, int32_t last_id);

  std::vector<int32_t> ids(const PlannedRequest& request) const;
  std::string text(const PlannedRequest& request) const;

 private:
  int32_t first_id_;
  int32_t last_id_;
  int64_t prefix_tokens_;
  uint64_t prefix_seed_;
};

}  // namespace quire::load
