// The state that every endpoint uses. Made by `quire serve`, outlives the listener; `state` says which members are
// valid.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "dialogue/text_processor.h"
#include "engine/engine.h"
#include "server/limits.h"

namespace quire {

class Metrics;

enum class ServerState : uint8_t {
  kLoading,  // engine and text are null
  kReady,
  kLeaving,   // load balancers are told to send no more; requests that still come are served
  kDraining,  // running requests may finish, no new ones start
};

// The model as /v1/models describes it.
struct ModelCard {
  std::string id;                    // the name clients use
  std::vector<std::string> aliases;  // further names
  std::string root;                  // the path or name it was loaded from, without folders
  int64_t created = 0;
  int64_t max_model_len = 0;    // positions of a sequence as it is served
  int64_t trained_context = 0;  // positions that the model was made for
  int64_t vocab_size = 0;
  uint64_t num_parameters = 0;
  uint64_t weight_bytes = 0;
  uint64_t kv_bytes = 0;          // the KV pool
  uint64_t activation_bytes = 0;  // a step's
  std::string architecture;
  std::string arithmetic;  // what else the bits of an answer depend on: kernels, KV formats, ranks

  bool has_name(std::string_view name) const {
    return name == id || std::find(aliases.begin(), aliases.end(), name) != aliases.end();
  }
};

struct ServerContext {
  std::atomic<ServerState> state{ServerState::kLoading};
  // Set before `state` becomes kReady, unchanged from then on.
  Engine* engine = nullptr;
  const TextProcessor* text = nullptr;
  SamplingParams default_sampling;  // from the model's generation_config.json
  ModelCard model;

  Limits limits;
  Metrics* metrics = nullptr;  // never null while a listener runs
  std::string openapi;         // the description of the paths, written by the listener
  bool allow_request_templates = false;
};

}  // namespace quire
