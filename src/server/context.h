// The state that every endpoint uses. Made by `quire serve`, outlives the listener; `state` says which members are
// valid.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "server/answers/response_store.h"
#include "server/limits.h"
#include "server/served_models.h"

namespace quire {

class BatchStore;
class CompileQueue;
class Metrics;

enum class ServerState : uint8_t {
  kLoading,  // there are no models yet
  kReady,
  kLeaving,   // load balancers are told to send no more; requests that still come are served
  kDraining,  // running requests may finish, no new ones start
};

struct ServerContext {
  std::atomic<ServerState> state{ServerState::kLoading};
  ServedModels models;  // filled before `state` becomes kReady, unchanged from then on

  Limits limits;
  ResponseStore responses;
  BatchStore* batches = nullptr;         // null: there are none
  CompileQueue* compilations = nullptr;  // of the listener; null: grammars are compiled where they are asked for
  Metrics* metrics = nullptr;            // never null while a listener runs
  std::string openapi;                   // the description of the paths, written by the listener
  bool allow_request_templates = false;
  int stream_interval = 1;          // tokens to a chunk of a stream, unless a request says otherwise
  bool drop_client_markers = true;  // apis/anthropic_messages/client_markers.h
  bool any_property_order = false;  // of objects that a schema describes, unless a request says otherwise
  int64_t reasoning_budget = -1;    // most tokens of reasoning, unless a request says otherwise; -1: no limit
  bool parse_special =
      true;  // names of special tokens in raw prompts are those tokens, unless a request says otherwise
};

}  // namespace quire
