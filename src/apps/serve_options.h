// The flags of `quire serve`, and what they mean for its parts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/kv_store_flags.h"
#include "apps/options.h"
#include "apps/scheduling_options.h"
#include "apps/speculation_flags.h"
#include "engine/engine.h"
#include "server/listener.h"

namespace quire {

struct ServeOptions {
  ModelOptions model;
  SchedulingOptions scheduling;
  SamplingOptions sampling;
  SpeculationFlags speculation;
  KvStoreFlags kv_store;
  std::vector<std::string> hosts;
  uint16_t port = 8080;
  ListenerOptions listener;
  std::string log_requests = "off";
  std::vector<std::string> served_names;
  std::vector<std::string> limits;
  int64_t max_queued_requests = EngineOptions().max_queued_requests;
  int64_t max_queued_tokens = EngineOptions().max_queued_tokens;
  int drain_seconds = 30;
  int drain_delay_seconds = 0;
  int64_t seed = -1;  // negative: a new one
  ChatTemplateOption chat_template;
  int stream_interval = 1;
  bool allow_request_templates = false;
  bool no_parse_special = false;
  bool keep_client_markers = false;
  bool any_property_order = false;
  int64_t reasoning_budget = -1;
  std::string batch_store;
  std::optional<uint64_t> kv_bytes;
  bool populate_kv = false;
  bool no_web_page = false;
  bool check = false;

  void add(Command& command);
  // Each throws Error for values that do not go together.
  RunnerOptions runner_options(const Checkpoint& checkpoint) const;
  ListenerOptions listener_options() const;
  EngineOptions engine_options() const;
  Limits server_limits() const;
  // Never empty; `plain_name` where none is given.
  std::vector<std::string> model_names(const std::string& plain_name) const;
};

// Blocks of the KV pool of a server. `plan`: the memory plan for every sequence at its full length, or for what fits.
// `kv_bytes`: what the user asked for, if anything; otherwise the pool has room for every sequence at a usual length,
// and for one at its full length.
int64_t served_blocks(const MemoryPlan& plan, const RunnerOptions& options, std::optional<uint64_t> kv_bytes);

}  // namespace quire
