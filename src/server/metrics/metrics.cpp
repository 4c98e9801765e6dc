#include "server/metrics/metrics.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <span>
#include <tuple>
#include <vector>

#include "server/metrics/metrics_text.h"

namespace quire {
namespace {

// vLLM's own bucket bounds, so that its dashboards and alerts fit.
constexpr double kTtftBounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
                                  1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0};
constexpr double kTokenTimeBounds[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
                                       0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};
constexpr double kRequestTimeBounds[] = {0.3,  0.5,  0.8,  1.0,  1.5,  2.0,   2.5,   5.0,   10.0,  15.0,  20.0,
                                         30.0, 40.0, 50.0, 60.0, 120., 240.0, 480.0, 960.0, 1920., 7680.0};
constexpr double kLengthBounds[] = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                                    1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
constexpr double kChoiceBounds[] = {1, 2, 5, 10, 20};
// The live view reads percentiles off its buckets, so these are 12 % wide: the preferred numbers R20 (ISO 3) of eight
// decades from 0.1 ms on.
constexpr int kPreferredNumbers[] = {100, 112, 125, 140, 160, 180, 200, 224, 250, 280,
                                     315, 355, 400, 450, 500, 560, 630, 710, 800, 900};
constexpr int kDecades = 8;
constexpr auto kLiveBounds = [] {
  std::array<double, std::size(kPreferredNumbers) * kDecades + 1> bounds{};
  size_t next = 0;
  double scale = 1e6;  // an exact number divided by an exact one: the nearest double, which has a short text
  for (int decade = 0; decade < kDecades; ++decade, scale /= 10) {
    for (const int number : kPreferredNumbers) bounds[next++] = number / scale;
  }
  bounds[next] = 1e4;
  return bounds;
}();
constexpr double kHttpTimeBounds[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0};

// Observed from any thread, without locks.
class Histogram {
 public:
  explicit Histogram(std::span<const double> bounds)
      : bounds_(bounds), counts_(new std::atomic<uint64_t>[bounds.size() + 1]()) {}

  void observe(double value) {
    const size_t bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
    counts_[bucket].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(value, std::memory_order_relaxed);
  }
  // Negative values are times that do not exist and are not counted.
  void observe_if_known(double value) {
    if (value >= 0) observe(value);
  }

  void write(MetricsText& text, std::string_view name, std::string_view help) const {
    text.histogram(name, help, bounds_, counts(), sum_.load(std::memory_order_relaxed));
  }
  json::object to_json() const {
    const std::vector<uint64_t> all = counts();
    uint64_t total = 0;
    for (const uint64_t count : all) total += count;
    return {{"bounds", json::value_from(std::vector<double>(bounds_.begin(), bounds_.end()))},
            {"counts", json::value_from(all)},
            {"count", total},
            {"sum", sum_.load(std::memory_order_relaxed)}};
  }

 private:
  std::vector<uint64_t> counts() const {
    std::vector<uint64_t> copy(bounds_.size() + 1);
    for (size_t i = 0; i < copy.size(); ++i) copy[i] = counts_[i].load(std::memory_order_relaxed);
    return copy;
  }

  std::span<const double> bounds_;
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;
  std::atomic<double> sum_{0.0};
};

// A latency in vLLM's buckets for dashboards, and in fine ones for the live view.
class Latency {
 public:
  explicit Latency(std::span<const double> bounds) : wide_(bounds) {}

  void observe_if_known(double seconds) {
    wide_.observe_if_known(seconds);
    fine_.observe_if_known(seconds);
  }
  void write(MetricsText& text, std::string_view name, std::string_view help) const { wide_.write(text, name, help); }
  json::object to_json() const { return fine_.to_json(); }

 private:
  Histogram wide_;
  Histogram fine_{kLiveBounds};
};

enum Ending : uint8_t { kEndedByStop, kEndedByLength, kEndedByAbort, kEndedByError, kNumEndings };
constexpr const char* kEndingNames[kNumEndings] = {"stop", "length", "abort", "error"};

Ending ending_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return kEndedByStop;
    case FinishReason::kLength: return kEndedByLength;
    case FinishReason::kError:
    case FinishReason::kAborted: return kEndedByError;
    case FinishReason::kNone:
    case FinishReason::kCancelled:
    case FinishReason::kTimeout: break;
  }
  return kEndedByAbort;
}

double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double size = 0;
  double resident = 0;
  file >> size >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double open_files() {
  std::error_code error;
  double count = 0;
  for (std::filesystem::directory_iterator file("/proc/self/fd", error), end; !error && file != end;
       file.increment(error)) {
    ++count;
  }
  return count;
}

}  // namespace

struct Metrics::Impl {
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
  Histogram http_seconds{kHttpTimeBounds};
  std::array<std::atomic<uint64_t>, kNumEndings> endings{};
  std::atomic<uint64_t> disconnects{0};
  std::atomic<int64_t> connections{0};
  std::atomic<int64_t> queued{0};
  const std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  const double started_unix =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();

  mutable std::mutex mutex;
  std::map<std::string, uint64_t, std::less<>> rejected;
  // Few combinations: method and route come from tables, and the server sets the status.
  std::map<std::tuple<std::string_view, std::string_view, int>, uint64_t> http;

  void write_engine(MetricsText& text, const EngineStatus& engine) const;
  void write_requests(MetricsText& text) const;
  void write_own(MetricsText& text, const EngineStatus& engine) const;
  void write_steps(MetricsText& text, const EngineStatus& engine) const;
  void write_process(MetricsText& text) const;
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

Metrics::Finished Metrics::finished(const OutputEvent& last, int64_t prompt_tokens, int64_t generated_tokens,
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

void Metrics::add_finished(const Finished& finished) {
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

void Metrics::add_inter_token(double seconds) { impl_->inter_token.observe_if_known(seconds); }

void Metrics::add_rejected(std::string_view reason) {
  const std::lock_guard lock(impl_->mutex);
  const auto found = impl_->rejected.find(reason);
  if (found != impl_->rejected.end()) {
    ++found->second;
  } else {
    impl_->rejected.emplace(reason, 1);
  }
}

void Metrics::add_http(std::string_view method, std::string_view route, int status, double seconds) {
  static constexpr std::string_view kMethods[] = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"};
  const auto known = std::find(std::begin(kMethods), std::end(kMethods), method);
  const std::string_view label = known != std::end(kMethods) ? *known : "other";
  impl_->http_seconds.observe_if_known(seconds);
  const std::lock_guard lock(impl_->mutex);
  ++impl_->http[{label, route, status}];
}

void Metrics::add_connection(int change) { impl_->connections.fetch_add(change, std::memory_order_relaxed); }
void Metrics::add_queued(int change) { impl_->queued.fetch_add(change, std::memory_order_relaxed); }
void Metrics::add_disconnect() { impl_->disconnects.fetch_add(1, std::memory_order_relaxed); }

void Metrics::Impl::write_engine(MetricsText& text, const EngineStatus& engine) const {
  const auto count = [](int64_t number) { return static_cast<double>(number); };
  const double total = count(std::max<int64_t>(engine.blocks_total, 1));
  text.gauge("vllm:num_requests_running", "Sequences in the running batch.", count(engine.num_running));
  text.gauge("vllm:num_requests_waiting", "Sequences waiting to run.", count(engine.num_waiting));
  text.family("vllm:num_requests_waiting_by_reason", "gauge", "Sequences waiting to run, by reason.");
  text.sample("vllm:num_requests_waiting_by_reason", count(engine.num_waiting), {{"reason", "capacity"}});
  text.gauge("vllm:kv_cache_usage_perc", "Share of KV blocks in use, 0 to 1.", count(engine.blocks_active) / total);
  text.family("vllm:cache_config_info", "gauge", "The KV cache's size in its labels.");
  text.sample(
      "vllm:cache_config_info", 1,
      {{"block_size", std::to_string(engine.block_size)}, {"num_gpu_blocks", std::to_string(engine.blocks_total)}});
  text.counter("vllm:prompt_tokens_total", "Prompt tokens of started requests, cached ones included.",
               count(engine.prompt_tokens));
  text.counter("vllm:prompt_tokens_cached_total", "Prompt tokens taken from the prefix cache.",
               count(engine.cached_tokens));
  text.family("vllm:prompt_tokens_by_source_total", "counter", "Prompt tokens by where their KV came from.");
  text.sample("vllm:prompt_tokens_by_source_total", count(engine.prompt_tokens - engine.cached_tokens),
              {{"source", "local_compute"}});
  text.sample("vllm:prompt_tokens_by_source_total", count(engine.cached_tokens), {{"source", "local_cache_hit"}});
  text.counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
               count(engine.prompt_tokens));
  text.counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", count(engine.cached_tokens));
  text.counter("vllm:generation_tokens_total", "Generated tokens.", count(engine.generated_tokens));
  text.counter("vllm:num_preemptions_total", "Sequences preempted for others.", count(engine.num_preemptions));
}

void Metrics::Impl::write_requests(MetricsText& text) const {
  text.family("vllm:request_success_total", "counter", "Finished choices by how they ended.");
  for (int i = 0; i < kNumEndings; ++i) {
    text.sample("vllm:request_success_total", static_cast<double>(endings[i].load(std::memory_order_relaxed)),
                {{"finished_reason", kEndingNames[i]}});
  }
  ttft.write(text, "vllm:time_to_first_token_seconds", "From arrival to the first token.");
  inter_token.write(text, "vllm:inter_token_latency_seconds", "Between two tokens of a choice.");
  time_per_token.write(text, "vllm:request_time_per_output_token_seconds", "Mean time per token after the first.");
  e2e.write(text, "vllm:e2e_request_latency_seconds", "From arrival to the last token.");
  queue.write(text, "vllm:request_queue_time_seconds", "From arrival to the first step.");
  prefill.write(text, "vllm:request_prefill_time_seconds", "From the first step to the first token.");
  decode.write(text, "vllm:request_decode_time_seconds", "From the first token to the last.");
  inference.write(text, "vllm:request_inference_time_seconds", "From the first step to the last token.");
  prompt_tokens.write(text, "vllm:request_prompt_tokens", "Prompt tokens per choice.");
  generated_tokens.write(text, "vllm:request_generation_tokens", "Generated tokens per choice.");
  max_generated.write(text, "vllm:request_max_num_generation_tokens", "Generated tokens of the longest choice.");
  choices.write(text, "vllm:request_params_n", "Choices asked for.");
  max_tokens.write(text, "vllm:request_params_max_tokens", "Tokens asked for at most.");
  computed_tokens.write(text, "vllm:request_prefill_kv_computed_tokens",
                        "Prompt tokens that were computed, not cached.");
}

void Metrics::Impl::write_steps(MetricsText& text, const EngineStatus& engine) const {
  const auto write = [&](std::string_view name, std::string_view help, const auto& bounds, const auto& counts,
                         double unit, double sum) {
    std::vector<double> scaled;
    for (const auto bound : bounds) scaled.push_back(static_cast<double>(bound) * unit);
    const std::vector<uint64_t> copy(counts.begin(), counts.end());
    text.histogram(name, help, scaled, copy, sum);
  };
  write("vllm:iteration_tokens_total", "Tokens per engine step.", kStepTokenBounds, engine.step_tokens, 1.0,
        static_cast<double>(engine.computed_tokens));
  const double step_ms = engine.plan_ms + engine.run_ms + engine.decode_ms;
  write("quire:step_seconds", "Time of an engine step.", kStepMsBounds, engine.step_ms, 0.001, step_ms / 1000.0);
  text.family("quire:step_time_seconds_total", "counter", "Time of all engine steps by part.");
  text.sample("quire:step_time_seconds_total", engine.plan_ms / 1000.0, {{"part", "plan"}});
  text.sample("quire:step_time_seconds_total", engine.run_ms / 1000.0, {{"part", "run"}});
  text.sample("quire:step_time_seconds_total", engine.decode_ms / 1000.0, {{"part", "decode"}});
}

void Metrics::Impl::write_own(MetricsText& text, const EngineStatus& engine) const {
  const auto count = [](int64_t number) { return static_cast<double>(number); };
  text.family("quire:kv_blocks", "gauge", "KV blocks by state.");
  text.sample("quire:kv_blocks", count(engine.blocks_total - engine.blocks_active - engine.blocks_cached),
              {{"state", "free"}});
  text.sample("quire:kv_blocks", count(engine.blocks_active), {{"state", "active"}});
  text.sample("quire:kv_blocks", count(engine.blocks_cached), {{"state", "cached"}});
  text.gauge("quire:requests_swapped", "Waiting sequences whose KV lies in swap space.", count(engine.num_swapped));
  text.counter("quire:swaps_total", "Preemptions that moved KV instead of dropping it.", count(engine.num_swaps));
  text.counter("quire:choices_cancelled_total", "Choices cancelled by their clients.", count(engine.num_cancelled));
  text.counter("quire:choices_timed_out_total", "Choices that reached their timeout.", count(engine.num_timed_out));
  text.counter("quire:choices_failed_total", "Choices that ended because the model produced NaN or infinity.",
               count(engine.num_failed));
  text.counter("quire:choices_aborted_total", "Choices that ended because their step failed.",
               count(engine.num_aborted));
  text.counter("quire:steps_failed_total", "Steps that could not be carried out.", count(engine.num_failed_steps));
  text.counter("quire:computed_tokens_total", "Rows that went through the model.", count(engine.computed_tokens));
  text.counter("quire:client_disconnects_total", "Clients that left before their answer was complete.",
               static_cast<double>(disconnects.load(std::memory_order_relaxed)));
  text.gauge("quire:http_requests_queued", "Requests that wait for a worker.",
             count(queued.load(std::memory_order_relaxed)));
  text.gauge("quire:http_connections", "Open connections.", count(connections.load(std::memory_order_relaxed)));
  {
    const std::lock_guard lock(mutex);
    text.family("quire:requests_rejected_total", "counter", "Requests answered without running, by error code.");
    for (const auto& [reason, number] : rejected) {
      text.sample("quire:requests_rejected_total", static_cast<double>(number), {{"reason", reason}});
    }
    text.family("quire:http_requests_total", "counter", "HTTP requests; status 499: the client left.");
    for (const auto& [key, number] : http) {
      text.sample(
          "quire:http_requests_total", static_cast<double>(number),
          {{"method", std::get<0>(key)}, {"route", std::get<1>(key)}, {"status", std::to_string(std::get<2>(key))}});
    }
  }
  http_seconds.write(text, "quire:http_request_seconds", "From a whole request to the end of its reply.");
}

void Metrics::Impl::write_process(MetricsText& text) const {
  text.gauge("process_resident_memory_bytes", "Resident memory.", resident_bytes());
  text.gauge("process_open_fds", "Open file descriptors.", open_files());
  text.gauge("process_start_time_seconds", "Start of the server, Unix time.", started_unix);
  text.family("quire:build_info", "gauge", "The build in its labels.");
  text.sample("quire:build_info", 1, {{"version", QUIRE_VERSION}, {"compiler", __VERSION__}});
}

std::string Metrics::exposition(std::string_view model_name, const EngineStatus& engine) const {
  MetricsText text(MetricsText::label("model_name", model_name) + "," + MetricsText::label("engine", "0"));
  impl_->write_engine(text, engine);
  impl_->write_requests(text);
  impl_->write_steps(text, engine);
  impl_->write_own(text, engine);
  MetricsText process("");
  impl_->write_process(process);
  return text.take() + process.take();
}

json::object Metrics::summary() const {
  const Impl& m = *impl_;
  const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - m.started;
  json::object endings;
  for (int i = 0; i < kNumEndings; ++i) endings[kEndingNames[i]] = m.endings[i].load(std::memory_order_relaxed);
  json::object rejected;
  {
    const std::lock_guard lock(m.mutex);
    for (const auto& [reason, number] : m.rejected) rejected[reason] = number;
  }
  return {{"uptime_s", uptime.count()},
          {"latency",
           {{"ttft_s", m.ttft.to_json()},
            {"itl_s", m.inter_token.to_json()},
            {"e2e_s", m.e2e.to_json()},
            {"queue_s", m.queue.to_json()}}},
          {"finished", std::move(endings)},
          {"rejected", std::move(rejected)},
          {"disconnects", m.disconnects.load(std::memory_order_relaxed)},
          {"connections", m.connections.load(std::memory_order_relaxed)},
          {"memory", {{"resident_bytes", resident_bytes()}}}};
}

}  // namespace quire
