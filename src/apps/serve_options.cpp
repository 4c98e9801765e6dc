#include "apps/serve_options.h"

#include <random>

#include "apps/flags/values.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr int64_t kServedSequences = 32;
constexpr int64_t kServedBatchTokens = 512;

void add_listening(Command& command, ServeOptions& options) {
  command.add(
      {.title = "Listening", .has_environment = true},
      {{.names = "--host", .value = texts(options.hosts, "ADDRESS"), .help = "Address to listen on; repeatable"},
       {.names = "--port", .value = number(options.port), .help = "Port; 0 takes any that is free"},
       {.names = "--uds",
        .value = text(options.listener.unix_path, "PATH"),
        .help = "Listen on this Unix socket as well"},
       {.names = "--ssl-certfile",
        .value = text(options.listener.certificate_file, "FILE"),
        .help = "TLS certificate chain (PEM); reloaded when it changes"},
       {.names = "--ssl-keyfile",
        .value = text(options.listener.key_file, "FILE"),
        .help = "Private key of --ssl-certfile (PEM)"},
       {.names = "--http-threads",
        .value = number(options.listener.num_threads, 1, 256),
        .help = "Threads for HTTP, templates and tokenizing"},
       {.names = "--drain-timeout",
        .value = number(options.drain_seconds, 0, 86400),
        .help = "Seconds that running requests may take after SIGTERM"},
       {.names = "--log-requests",
        .value = text(options.log_requests, "FORM"),
        .help = "Log a line per request: off, text or json"},
       {.names = "--no-webui", .value = on_off(options.no_web_page), .help = "Serve no web page"}});
}

void add_access(Command& command, ServeOptions& options) {
  command.add(
      {.title = "Access", .has_environment = true},
      {{.names = "--api-key", .value = texts(options.listener.api_keys, "KEY"), .help = "Require this key; repeatable"},
       {.names = "--api-key-file",
        .value = text(options.listener.api_key_file, "FILE"),
        .help = "Require a key of this file, one per line as KEY or NAME:KEY; reloaded when it changes"},
       {.names = "--allowed-host",
        .value = texts(options.listener.allowed_hosts, "HOST"),
        .help = "Accept requests for this Host besides localhost; repeatable"},
       {.names = "--cors-origin",
        .value = texts(options.listener.cors_origins, "ORIGIN"),
        .help = "Let web pages of this origin use the server; repeatable, * for all"}});
}

void add_serving(Command& command, ServeOptions& options) {
  command.add({.title = "Serving", .has_environment = true},
              {{.names = "--served-model-name,--alias",
                .value = text(options.served_name, "NAME"),
                .help = "The name that clients use",
                .default_text = "that of the file or folder"},
               {.names = "--max-num-queued-reqs",
                .value = number(options.max_queued_requests, 1, int64_t{1} << 30),
                .help = "Requests that may wait; the server answers 429 to more"},
               {.names = "--max-num-queued-tokens",
                .value = number(options.max_queued_tokens, 1, int64_t{1} << 50),
                .help = "Prompt tokens that may wait"}});
}

}  // namespace

void ServeOptions::add(Command& command) {
  model.max_sequences = kServedSequences;
  model.max_batch_tokens = kServedBatchTokens;
  model.add_model(command);
  command.add({{.names = "--check",
                .value = on_off(check),
                .help = "Check flags, files and memory, then exit without serving"}});
  add_listening(command, *this);
  add_access(command, *this);
  add_serving(command, *this);
  model.add_limits(command);
  model.add_compute(command);
  scheduling.add(command);
  scheduling.add_run_ahead(command);
}

RunnerOptions ServeOptions::runner_options() const {
  RunnerOptions runner = model.runner_options();
  scheduling.apply_to(runner);
  runner.populate_kv = true;
  return runner;
}

ListenerOptions ServeOptions::listener_options() const {
  ListenerOptions checked = listener;
  if (checked.certificate_file.empty() != checked.key_file.empty()) {
    fail(ErrorCode::kInvalidArgument, "TLS needs both --ssl-certfile and --ssl-keyfile; one is missing");
  }
  for (const std::string& host : hosts) {
    if (host.empty())
      fail(ErrorCode::kInvalidArgument, "--host is empty; give a name or an address, such as 127.0.0.1");
    checked.addresses.push_back({host, port});
  }
  checked.has_web_page = !no_web_page;
  checked.log_requests = parse_request_log(log_requests);
  return checked;
}

EngineOptions ServeOptions::engine_options() const {
  EngineOptions engine;
  engine.scheduler = scheduling.scheduler_options();
  engine.run_ahead = scheduling.run_ahead;
  engine.max_queued_requests = max_queued_requests;
  engine.max_queued_tokens = max_queued_tokens;
  engine.seed = std::random_device()();
  return engine;
}

}  // namespace quire
