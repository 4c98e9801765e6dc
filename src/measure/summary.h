// What happened to each request of a load test, and the statistics of all. Plain data and pure functions.
//
// Every latency counts from the moment at which the request was due, not from when it was sent: a server or a client
// that stalls cannot hide the requests which should have been sent meanwhile. In a closed loop a request is due when
// its client is free.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"

namespace quire::load {

struct RequestRecord {
  double due_ms = 0;    // all times: after the start of the run
  double sent_ms = -1;  // -1: never sent
  double end_ms = 0;
  int64_t planned_input = 0;
  int64_t planned_output = 0;
  int status = 0;                // of HTTP; 0 when there was no answer
  std::string error;             // empty: answered in full
  std::string error_detail;      // as the server words it
  std::vector<double> token_ms;  // of each event with text
  int64_t prompt_tokens = -1;    // as the server counts them; -1: it sent no count
  int64_t completion_tokens = -1;
  int64_t cached_tokens = -1;

  bool ok() const { return error.empty(); }
  int64_t num_output() const;  // the server's count, or else the number of events
  double ttft_ms() const { return token_ms.front() - due_ms; }
  double tpot_ms() const;  // mean time per token after the first; 0 for a single token
  double e2e_ms() const { return end_ms - due_ms; }
};

struct Distribution {
  int64_t count = 0;
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;
};

// Percentiles are interpolated between neighbours, as numpy does.
double percentile(const std::vector<double>& sorted, double percent);
Distribution describe(std::vector<double> values);

struct Objective {  // 0: not asked for
  double ttft_ms = 0;
  double tpot_ms = 0;
  bool is_set() const { return ttft_ms > 0 || tpot_ms > 0; }
  bool is_met(const RequestRecord& record) const;
};

// The samples behind the distributions, for plots.
struct Samples {
  std::vector<double> ttft_ms, tpot_ms, itl_ms, e2e_ms;
};

// Of speculative decoding, since the server's start or in a run.
struct DraftTotals {
  int64_t num_drafts = 0;  // steps of a sequence with drafts
  int64_t draft_tokens = 0;
  int64_t accepted_tokens = 0;
};

struct LoadSummary {
  std::string label;  // "2 requests/s", "8 clients"
  double rate = 0;    // offered requests/s; 0 in a closed loop
  int64_t concurrency = 0;
  int64_t num_requests = 0;
  int64_t num_ok = 0;
  int64_t num_good = 0;  // within the objective
  bool has_objective = false;
  double wall_s = 0;  // from the start to the last answer
  int64_t input_tokens = 0;
  int64_t output_tokens = 0;
  int64_t cached_tokens = -1;
  DraftTotals drafts = {};
  std::map<std::string, int64_t> failures;  // by kind
  std::string first_failure;
  Distribution ttft, tpot, itl, e2e;
  Distribution send_delay;  // how late this program itself sent, ms

  double per_second(int64_t count) const { return wall_s > 0 ? static_cast<double>(count) / wall_s : 0.0; }
};

Samples collect(const std::vector<RequestRecord>& records);
LoadSummary summarise(const std::vector<RequestRecord>& records, const Objective& objective);

json::object to_json(const LoadSummary& summary);
json::object to_json(const RequestRecord& record);
std::string describe(const LoadSummary& summary);

// The index of the knee of a concave curve, where y stops to grow in proportion to x: the point farthest above
// the line between both ends (Satopaa et al. 2011, "Finding a kneedle in a haystack"); -1 when the curve has none.
// x rises.
int64_t find_knee(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace quire::load
