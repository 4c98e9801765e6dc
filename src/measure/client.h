// Sends planned requests to an OpenAI-compatible server over plain HTTP/1.1 and records what comes back, all on the
// calling thread. No header of the network library is included.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "measure/summary.h"
#include "measure/workload.h"

namespace quire::load {

struct Target {
  std::string host;
  std::string port;
  std::string path;  // before /v1; usually empty

  // "http://127.0.0.1:8080", with or without /v1. Throws Error.
  static Target parse(std::string_view base_url);
  std::string authority() const;
};

struct ClientOptions {
  Target target = {};
  std::string model = {};    // empty: not sent
  std::string api_key = {};  // empty: not sent
  bool chat = false;         // /v1/chat/completions instead of /v1/completions
  bool token_ids = false;    // prompts as ids, else as text
  bool keep_alive = true;    // else every request opens a connection of its own
  bool ignore_eos = true;
  json::object extra = {};       // members added to every request
  double timeout_s = 600;        // of one request
  int64_t max_in_flight = 8192;  // a request due beyond it fails without being sent
};

struct Progress {
  int64_t num_requests = 0;
  int64_t num_sent = 0;
  int64_t num_done = 0;
  int64_t num_failed = 0;  // of those done
  int64_t num_tokens = 0;  // events with text, of answers that are complete
  double elapsed_s = 0;
};

// Called several times a second; false ends the run.
using OnProgress = std::function<bool(const Progress&)>;

// The id of the first model that the server offers; empty when it has no list. Throws Error when no server answers.
std::string first_model(const Target& target, const std::string& api_key);

// What the server's metrics say of speculative decoding, under vLLM's names; zeros where they say nothing or no
// server answers.
DraftTotals draft_totals(const Target& target, const std::string& api_key);

// concurrency > 0: a closed loop of so many clients, which ignores due times. One record per request that
// was due before the run ended. Throws Error when the host's name is unknown.
std::vector<RequestRecord> run_load(const ClientOptions& options, const PromptMaker& prompts,
                                    const std::vector<PlannedRequest>& requests, int64_t concurrency,
                                    const OnProgress& on_progress);

}  // namespace quire::load
