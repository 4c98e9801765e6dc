#include "server/metrics/model_metrics.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "server/metrics/histogram.h"

namespace quire {
namespace {

// vLLM's own bucket bounds, so that its dashboards and alerts fit.
constexpr double kTtftBounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
                                  1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0};
constexpr double kTokenTimeBounds[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
                                       0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};
constexpr double kRequestTimeBounds[] = {0.3,  0.5,  0.8,  1.0,  1.5,  2.0,   2.5,   5.0,   10.0,  15.0,  20.0,
                                         30.0, 40.0, 50.0, 60.0, 120., 240.0, 480.0, 960.0, 1920., 7680.0};
constexpr double kCompileTimeBounds[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0};
constexpr double kMaskTimeBounds[] = {2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 0.1};
constexpr double kLengthBounds[] = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                                    1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
constexpr double kChoiceBounds[] = {1, 2, 5, 10, 20};
enum Ending : uint8_t { kEndedByStop, kEndedByLength, kEndedByAbort, kEndedByError, kNumEndings };
constexpr const char* kEndingNames[kNumEndings] = {"stop", "length", "abort", "error"};

Ending ending_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return kEndedByStop;
    case FinishReason::kLength: return kEndedByLength;
    case FinishReason::kError:
    case FinishReason::kAborted:
    case FinishReason::kConstraint: return kEndedByError;
    case FinishReason::kNone:
    case FinishReason::kCancelled:
    case FinishReason::kTimeout: break;
  }
  return kEndedByAbort;
}

}  // namespace

struct ModelMetrics::Impl {
  Latency ttft{kTtftBounds};
  Latency inter_token{kTokenTimeBounds};
  Histogram time_per_token{kTokenTimeBounds};
  Latency e2e{kRequestTimeBounds};
  Latency queue{kRequestTimeBounds};
  Histogram prefill{kRequestTimeBounds};
  Histogram decode{kRequestTimeBounds};
  Histogram inference{kRequestTimeBounds};
  Histogram prompt_tokens{kLengthBounds};
  Histogram generated_tokens{kLengthBounds};
  Histogram max_generated{kLengthBounds};
  Histogram max_tokens{kLengthBounds};
  Histogram computed_tokens{kLengthBounds};
  Histogram choices{kChoiceBounds};
  std::shared_ptr<Histogram> grammar_compile = std::make_shared<Histogram>(kCompileTimeBounds);
  std::shared_ptr<Histogram> grammar_mask = std::make_shared<Histogram>(kMaskTimeBounds);
  std::array<std::atomic<uint64_t>, kNumEndings> endings{};
};

ModelMetrics::ModelMetrics() : impl_(std::make_unique<Impl>()) {}
ModelMetrics::~ModelMetrics() = default;

ModelMetrics::Finished ModelMetrics::finished(const OutputEvent& last, int64_t prompt_tokens, int64_t generated_tokens,
                                              int64_t max_tokens, int num_choices) {
  const RequestTiming& timing = last.timing;
  const auto between = [](double from, double to) { return from > 0 && to >= from ? (to - from) / 1000.0 : -1.0; };
  const bool has_token = generated_tokens > 0;
  return {.reason = last.finish,
          .prompt_tokens = prompt_tokens,
          .cached_tokens = last.num_cached_tokens,
          .generated_tokens = generated_tokens,
          .max_tokens = max_tokens,
          .num_choices = num_choices,
          .ttft_s = has_token ? between(timing.arrival_ms, timing.first_token_ms) : -1.0,
          .queue_s = between(timing.arrival_ms, timing.first_scheduled_ms),
          .prefill_s = has_token ? between(timing.first_scheduled_ms, timing.first_token_ms) : -1.0,
          .decode_s = has_token ? between(timing.first_token_ms, timing.last_token_ms) : -1.0,
          .e2e_s = has_token ? between(timing.arrival_ms, timing.last_token_ms) : -1.0};
}

void ModelMetrics::add_finished(const Finished& finished) {
  Impl& m = *impl_;
  m.endings[ending_of(finished.reason)].fetch_add(1, std::memory_order_relaxed);
  m.ttft.observe_if_known(finished.ttft_s);
  m.queue.observe_if_known(finished.queue_s);
  m.prefill.observe_if_known(finished.prefill_s);
  m.decode.observe_if_known(finished.decode_s);
  m.e2e.observe_if_known(finished.e2e_s);
  if (finished.prefill_s >= 0 && finished.decode_s >= 0) m.inference.observe(finished.prefill_s + finished.decode_s);
  if (finished.generated_tokens > 1 && finished.decode_s >= 0) {
    m.time_per_token.observe(finished.decode_s / static_cast<double>(finished.generated_tokens - 1));
  }
  m.prompt_tokens.observe(static_cast<double>(finished.prompt_tokens));
  m.generated_tokens.observe(static_cast<double>(finished.generated_tokens));
  m.max_generated.observe(static_cast<double>(finished.generated_tokens));
  m.computed_tokens.observe(static_cast<double>(finished.prompt_tokens - finished.cached_tokens));
  if (finished.max_tokens >= 0) m.max_tokens.observe(static_cast<double>(finished.max_tokens));
  m.choices.observe(finished.num_choices);
}

std::shared_ptr<Histogram> ModelMetrics::grammar_compile_seconds() const { return impl_->grammar_compile; }
std::shared_ptr<Histogram> ModelMetrics::grammar_mask_seconds() const { return impl_->grammar_mask; }

void ModelMetrics::add_inter_token(double seconds) { impl_->inter_token.observe_if_known(seconds); }

void ModelMetrics::write(MetricsText& text) const {
  const Impl& m = *impl_;
  text.family("vllm:request_success_total", "counter", "Finished choices by how they ended.");
  for (int i = 0; i < kNumEndings; ++i) {
    text.sample("vllm:request_success_total", static_cast<double>(m.endings[i].load(std::memory_order_relaxed)),
                {{"finished_reason", kEndingNames[i]}});
  }
  m.ttft.write(text, "vllm:time_to_first_token_seconds", "From arrival to the first token.");
  m.inter_token.write(text, "vllm:inter_token_latency_seconds", "Between two tokens of a choice.");
  m.time_per_token.write(text, "vllm:request_time_per_output_token_seconds", "Mean time per token after the first.");
  m.e2e.write(text, "vllm:e2e_request_latency_seconds", "From arrival to the last token.");
  m.queue.write(text, "vllm:request_queue_time_seconds", "From arrival to the first step.");
  m.prefill.write(text, "vllm:request_prefill_time_seconds", "From the first step to the first token.");
  m.decode.write(text, "vllm:request_decode_time_seconds", "From the first token to the last.");
  m.inference.write(text, "vllm:request_inference_time_seconds", "From the first step to the last token.");
  m.prompt_tokens.write(text, "vllm:request_prompt_tokens", "Prompt tokens per choice.");
  m.generated_tokens.write(text, "vllm:request_generation_tokens", "Generated tokens per choice.");
  m.max_generated.write(text, "vllm:request_max_num_generation_tokens", "Generated tokens of the longest choice.");
  m.choices.write(text, "vllm:request_params_n", "Choices asked for.");
  m.max_tokens.write(text, "vllm:request_params_max_tokens", "Tokens asked for at most.");
  m.computed_tokens.write(text, "vllm:request_prefill_kv_computed_tokens",
                          "Prompt tokens that were computed, not cached.");
  m.grammar_compile->write(text, "quire:grammar_compile_seconds", "Time to compile a grammar.");
  m.grammar_mask->write(text, "quire:grammar_mask_seconds", "Time to find the tokens that a grammar allows next.");
}

json::object ModelMetrics::summary() const {
  const Impl& m = *impl_;
  json::object endings;
  for (int i = 0; i < kNumEndings; ++i) endings[kEndingNames[i]] = m.endings[i].load(std::memory_order_relaxed);
  return {{"latency",
           {{"ttft_s", m.ttft.to_json()},
            {"itl_s", m.inter_token.to_json()},
            {"e2e_s", m.e2e.to_json()},
            {"queue_s", m.queue.to_json()}}},
          {"finished", std::move(endings)}};
}

}  // namespace quire
