// Counts and latency histograms of the server, under vLLM's metric names plus quire's own, as Prometheus text.
//
// Any thread. Each exposition reads the engine's numbers from Engine::status(); this class counts what only the server
// sees.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "engine/engine_status.h"
#include "engine/request.h"

namespace quire {

class Metrics {
 public:
  Metrics();
  ~Metrics();

  // One finished choice; times in seconds, negative when they do not exist.
  struct Finished {
    FinishReason reason = FinishReason::kNone;
    int64_t prompt_tokens = 0;
    int64_t cached_tokens = 0;
    int64_t generated_tokens = 0;
    int64_t max_tokens = -1;  // as requested
    int num_choices = 1;
    double ttft_s = -1;
    double queue_s = -1;
    double prefill_s = -1;
    double decode_s = -1;
    double e2e_s = -1;
  };
  // From the finishing event's timing; `max_tokens` as requested.
  static Finished finished(const OutputEvent& last, int64_t prompt_tokens, int64_t generated_tokens, int64_t max_tokens,
                           int num_choices);
  void add_finished(const Finished& finished);
  void add_inter_token(double seconds);
  // A request that was refused without running; `reason` is its error code, such as "queue_full".
  void add_rejected(std::string_view reason);
  // `route` is the pattern of the route table, never the raw path.
  void add_http(std::string_view method, std::string_view route, int status, double seconds);
  void add_connection(int change);  // +1 opened, -1 closed
  void add_queued(int change);      // +1 waits for a worker, -1 no longer
  void add_disconnect();            // the client left before its answer was complete: counted where status 499 is

  std::string exposition(std::string_view model_name, const EngineStatus& engine) const;
  // Latency histograms and totals for the live view.
  json::object summary() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
