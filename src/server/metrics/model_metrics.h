// What the requests of one model came to: counts and latency histograms under vLLM's metric names. Any thread.
#pragma once

#include <cstdint>
#include <memory>

#include "base/json.h"
#include "engine/request.h"
#include "server/metrics/histogram.h"
#include "server/metrics/metrics_text.h"

namespace quire {

class ModelMetrics {
 public:
  ModelMetrics();
  ~ModelMetrics();

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
  // Observed while grammars compile and tokens are chosen; they may outlive this.
  std::shared_ptr<Histogram> grammar_compile_seconds() const;
  std::shared_ptr<Histogram> grammar_mask_seconds() const;

  void write(MetricsText& text) const;
  // Latency histograms and totals for the live view.
  json::object summary() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
