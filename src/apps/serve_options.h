// The flags of `quire serve`, and what they mean for its parts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/options.h"
#include "apps/scheduling_options.h"
#include "engine/engine.h"
#include "server/listener.h"

namespace quire {

struct ServeOptions {
  ModelOptions model;
  SchedulingOptions scheduling;
  std::vector<std::string> hosts = {"127.0.0.1"};
  uint16_t port = 8080;
  ListenerOptions listener;
  std::string log_requests = "off";
  std::string served_name;
  int64_t max_queued_requests = EngineOptions().max_queued_requests;
  int64_t max_queued_tokens = EngineOptions().max_queued_tokens;
  int drain_seconds = 30;
  bool no_web_page = false;
  bool check = false;

  void add(Command& command);
  // Each throws Error for values that do not go together.
  RunnerOptions runner_options() const;
  ListenerOptions listener_options() const;
  EngineOptions engine_options() const;
};

}  // namespace quire
