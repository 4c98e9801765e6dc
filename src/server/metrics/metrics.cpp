#include "server/metrics/metrics.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <tuple>

#include "server/metrics/engine_metrics.h"
#include "server/metrics/histogram.h"
#include "server/metrics/metrics_text.h"

namespace quire {
namespace {

constexpr double kHttpTimeBounds[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0};

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

void write_grammars(MetricsText& text, const GrammarCache::Counts& grammars) {
  const auto count = [](uint64_t value) { return static_cast<double>(value); };
  text.counter("quire:grammars_compiled_total", "Grammars that were compiled.", count(grammars.num_compiled));
  text.counter("quire:grammars_refused_total", "Grammars that could not be compiled.", count(grammars.num_failed));
  text.counter("quire:grammar_cache_hits_total", "Requests whose grammar had been compiled.", count(grammars.num_hits));
  text.gauge("quire:grammar_cache_bytes", "Memory of the compiled grammars that are kept.", count(grammars.bytes));
}

}  // namespace

struct Metrics::Impl {
  Histogram http_seconds{kHttpTimeBounds};
  std::atomic<uint64_t> disconnects{0};
  std::atomic<int64_t> connections{0};
  std::atomic<int64_t> queued{0};
  std::atomic<int64_t> compilations_queued{0};
  const std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  const double started_unix =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();

  mutable std::mutex mutex;
  std::map<std::string, uint64_t, std::less<>> rejected;
  // Few combinations: method and route come from tables, and the server sets the status.
  std::map<std::tuple<std::string_view, std::string_view, int>, uint64_t> http;

  void write_server(MetricsText& text) const;
  void write_process(MetricsText& text) const;
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

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
void Metrics::add_compilation_queued(int change) {
  impl_->compilations_queued.fetch_add(change, std::memory_order_relaxed);
}
void Metrics::add_disconnect() { impl_->disconnects.fetch_add(1, std::memory_order_relaxed); }

void Metrics::Impl::write_server(MetricsText& text) const {
  const auto count = [](int64_t number) { return static_cast<double>(number); };
  text.counter("quire:client_disconnects_total", "Clients that left before their answer was complete.",
               static_cast<double>(disconnects.load(std::memory_order_relaxed)));
  text.gauge("quire:http_requests_queued", "Requests that wait for a worker.",
             count(queued.load(std::memory_order_relaxed)));
  text.gauge("quire:grammars_queued", "Requests that wait for their grammar to be compiled.",
             count(compilations_queued.load(std::memory_order_relaxed)));
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

std::string Metrics::exposition(std::span<const ModelPart> models) const {
  MetricsText text;
  for (const ModelPart& model : models) {
    text.label_all({{"model_name", model.name}, {"engine", "0"}});
    write_engine_metrics(text, model.engine);
    model.requests.write(text);
    write_grammars(text, model.grammars);
  }
  text.label_all({});
  impl_->write_server(text);
  impl_->write_process(text);
  return text.take();
}

json::object Metrics::summary() const {
  const Impl& m = *impl_;
  const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - m.started;
  json::object rejected;
  {
    const std::lock_guard lock(m.mutex);
    for (const auto& [reason, number] : m.rejected) rejected[reason] = number;
  }
  return {{"uptime_s", uptime.count()},
          {"rejected", std::move(rejected)},
          {"disconnects", m.disconnects.load(std::memory_order_relaxed)},
          {"connections", m.connections.load(std::memory_order_relaxed)},
          {"memory", {{"resident_bytes", resident_bytes()}}}};
}

}  // namespace quire
