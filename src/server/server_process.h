// A server's life: listen, load, serve, drain. `quire serve` is this with the command line's values.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "dialogue/text_processor.h"
#include "engine/engine.h"
#include "server/context.h"
#include "server/listener.h"

namespace quire {

// What the server of one model owns.
struct LoadedModel {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<TextProcessor> text;
  SamplingParams default_sampling;
  ModelCard card;
};

struct ServerConfig {
  ListenerOptions listener;
  Limits limits;            // connections are cut to the descriptors that the process may have
  int stream_interval = 1;  // of the context, as the next five
  bool allow_request_templates = false;
  bool drop_client_markers = true;
  bool parse_special = true;
  bool any_property_order = false;
  int64_t reasoning_budget = -1;
  std::string batch_store;                        // a file; empty: no batches
  std::chrono::milliseconds drain_delay{0};       // after the first signal, while load balancers look away
  std::chrono::milliseconds drain_limit{30'000};  // for running requests after that
  // Throws Error for a model that cannot be served as it is wished. Reads headers, no weights.
  std::function<void()> check_model;
  // Called once, while clients are already told that the model is being loaded.
  std::function<LoadedModel()> load_model;
  // Called when requests are answered.
  std::function<void(const LoadedModel&, const Listener&)> on_ready;
};

// Does all that run_server() does before it loads weights, listening for a moment included. Throws Error for what
// would keep it from serving.
void validate_server(const ServerConfig& config);

// Serves until SIGTERM or SIGINT, then drains and returns; a second signal, and one while the model is being loaded,
// ends the process with 128 + its number. Throws Error for what keeps it from serving, and when the engine has stopped.
// Once in a process, before other threads are started.
void run_server(const ServerConfig& config);

}  // namespace quire
