#include "server/server_process.h"

#include <sys/resource.h>

#include <algorithm>
#include <optional>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "engine/engine_thread.h"
#include "server/answers/grammars.h"
#include "server/batches/runner.h"
#include "server/batches/store.h"
#include "server/endpoints/routes.h"
#include "server/metrics/metrics.h"
#include "server/stop_signals.h"

namespace quire {
namespace {

// Each connection needs a descriptor. Returns how many the process may have.
int64_t raise_descriptor_limit() {
  struct rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, 1 << 30));
}

void prepare(const ServerConfig& config, Metrics& metrics, ServerContext& context) {
  context.metrics = &metrics;
  context.stream_interval = config.stream_interval;
  context.allow_request_templates = config.allow_request_templates;
  context.drop_client_markers = config.drop_client_markers;
  context.parse_special = config.parse_special;
  context.any_property_order = config.any_property_order;
  context.reasoning_budget = config.reasoning_budget;
  context.limits = config.limits;
  constexpr int64_t kOwnDescriptors = 64;  // model files, listeners and the like
  const int64_t most = std::max<int64_t>(raise_descriptor_limit() - kOwnDescriptors, 16);
  context.limits.connections = static_cast<int>(std::min<int64_t>(context.limits.connections, most));
  // No address takes all.
  const int share = std::max(1, static_cast<int>(int64_t{context.limits.connections} * 4 / 5));
  context.limits.connections_per_address = std::min(context.limits.connections_per_address, share);
}

// Null without a file.
std::unique_ptr<BatchStore> open_batches(const ServerConfig& config, ServerContext& context,
                                         ListenerOptions& listener) {
  if (config.batch_store.empty()) return nullptr;
  auto store = std::make_unique<BatchStore>(config.batch_store);
  context.batches = store.get();
  listener.tenant_secret = store->secret();
  return store;
}

// As the listener answers a client.
void answer_line(ServerContext& context, const ExchangePtr& exchange) {
  const http::Request& request = exchange->request();
  run_route(*find_route(request.method, request.path), context, exchange);
}

}  // namespace

void validate_server(const ServerConfig& config) {
  Metrics metrics;
  ServerContext context;
  prepare(config, metrics, context);
  ListenerOptions options = config.listener;
  const std::unique_ptr<BatchStore> batches = open_batches(config, context, options);
  const Listener listener(context, std::move(options));
  config.check_model();
}

void run_server(const ServerConfig& config) {
  StopSignals& signals = StopSignals::instance();
  signals.catch_them();

  // Destroyed in reverse order: the thread of the engine stops, then the listener closes, then the engine ends.
  Metrics metrics;
  ServerContext context;
  prepare(config, metrics, context);
  LoadedModel model;
  ListenerOptions options = config.listener;
  const std::unique_ptr<BatchStore> batches = open_batches(config, context, options);
  Listener listener(context, std::move(options));
  signals.remove_at_exit(config.listener.unix_path);

  model = config.load_model();
  // The readers of answers are woken on a thread of the sockets, once for a step.
  model.engine->on_events([run = listener.executor()](Engine::Listeners listeners) {
    run([listeners = std::move(listeners)] {
      for (const auto& each : listeners) {
        try {
          (*each)();
        } catch (const std::exception& error) {  // memory is exhausted: the other streams go on
          log::warning("a stream was not woken: {}", error.what());
        }
      }
    });
  });
  std::string stop_reason;  // of an engine that cannot go on; its thread writes it
  std::optional<EngineThread> engine_thread;
  engine_thread.emplace(*model.engine, [&](const std::string& reason) {
    stop_reason = reason;
    signals.stop();
  });
  ServedModel& served = context.models.add({.card = model.card,
                                            .default_sampling = model.default_sampling,
                                            .engine = model.engine.get(),
                                            .text = model.text.get()});
  served.grammars = make_grammars(served, context.limits);
  signals.start_serving();
  context.state = ServerState::kReady;
  std::optional<BatchRunner> runner;
  if (batches != nullptr) {
    runner.emplace(context, *batches, [&](const ExchangePtr& exchange) { answer_line(context, exchange); });
  }
  config.on_ready(model, listener);

  signals.wait();
  runner.reset();  // what runs is run again at the next start
  listener.leave();
  if (model.engine->health() != EngineHealth::kStopped) std::this_thread::sleep_for(config.drain_delay);
  listener.drain(config.drain_limit);
  engine_thread.reset();  // it may have stopped during the drain and be writing its reason
  if (model.engine->health() == EngineHealth::kStopped) {
    fail(ErrorCode::kIo, "the engine has stopped: {}", stop_reason);
  }
}

}  // namespace quire
