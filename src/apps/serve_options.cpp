#include "apps/serve_options.h"

#include <algorithm>
#include <random>

#include "apps/flags/values.h"
#include "apps/loaded_drafter.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr int64_t kServedSequences = 32;
constexpr int64_t kServedBatchTokens = 512;
// Of a conversation: most requests have fewer. Sequences share the pool, so some may have many more.
constexpr int64_t kUsualPositions = 1024;

void add_listening(Command& command, ServeOptions& options) {
  command.add(
      {.title = "Listening", .has_environment = true},
      {{.names = "--host",
        .value = texts(options.hosts, "ADDRESS"),
        .help = "Address to listen on; repeatable",
        .default_text = "127.0.0.1"},
       {.names = "--port", .value = number(options.port), .help = "Port; 0 takes any that is free"},
       {.names = "--uds",
        .value = text(options.listener.unix_path, "PATH"),
        .help = "Listen on this Unix socket; then on a port only if --host is given too"},
       {.names = "--ssl-certfile,--ssl-cert-file",
        .value = text(options.listener.certificate_file, "FILE"),
        .help = "TLS certificate chain (PEM); reloaded when it changes"},
       {.names = "--ssl-keyfile,--ssl-key-file",
        .value = text(options.listener.key_file, "FILE"),
        .help = "Private key of --ssl-certfile (PEM)"},
       {.names = "--http-threads,--threads-http",
        .value = number(options.listener.num_threads, 1, 256),
        .help = "Threads for the sockets; at most one for each processor is started"},
       {.names = "--http-workers",
        .value = number(options.listener.num_workers, 1, 256),
        .help = "Threads that read bodies, render templates and tokenize"},
       {.names = "--http-workers-nice",
        .value = number(options.listener.worker_niceness, 0, 19),
        .help = "How far those for large bodies give way to threads that answer and compute, 0 to 19 as of nice"},
       {.names = "--drain-timeout",
        .value = number(options.drain_seconds, 0, 86400),
        .help = "Seconds that running requests may take after SIGTERM"},
       {.names = "--drain-delay",
        .value = number(options.drain_delay_seconds, 0, 86400),
        .help = "Seconds after SIGTERM in which requests are still taken while /readyz answers 503"},
       {.names = "--root-path",
        .value = text(options.listener.root_path, "PATH"),
        .help = "The path under which a proxy offers this server, such as /llm"},
       {.names = "--log-requests",
        .value = text(options.log_requests, "FORM"),
        .help = "Log a line per request: off, text or json"},
       {.names = "--no-webui,--no-ui", .value = on_off(options.no_web_page), .help = "Serve no web page"}});
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
        .help = "Let web pages of this origin use the server; repeatable, * for all"},
       {.names = "--trusted-proxy",
        .value = texts(options.listener.trusted_proxies, "ADDRESS"),
        .help = "Believe X-Forwarded-For of requests from this address; repeatable"}});
}

void add_serving(Command& command, ServeOptions& options) {
  command.add(
      {.title = "Serving", .has_environment = true},
      {{.names = "--served-model-name,--alias,-a",
        .value = texts_in_a_row(options.served_names, "NAME"),
        .help = "The name that clients use; several behind MODEL, with commas or repeated; answers tell the first",
        .default_text = "that of the file or folder"},
       {.names = "--max-num-queued-reqs",
        .value = number(options.max_queued_requests, 1, int64_t{1} << 30),
        .help = "Requests that may wait; the server answers 429 to more"},
       {.names = "--limit",
        .value = texts(options.limits, "NAME=NUMBER"),
        .help = "Set a limit of docs/serving.md, such as body_bytes=33554432; repeatable"},
       {.names = "--max-num-queued-tokens",
        .value = number(options.max_queued_tokens, 1, int64_t{1} << 50),
        .help = "Prompt tokens that may wait"},
       {.names = "-s,--seed",
        .value = number(options.seed, -1),
        .help = "Seeds of requests that bring none are drawn from this one, in the order of arrival; -1: a "
                "new one at each start"},
       {.names = "--batch-store",
        .value = text(options.batch_store, "FILE"),
        .help =
            "Keep uploaded files and batches in this SQLite database; without it /v1/files and /v1/batches are off"},
       {.names = "--no-parse-special",
        .value = on_off(options.no_parse_special),
        .help = "Read names of special tokens in raw prompts as text, unless a request sets parse_special"},
       {.names = "--stream-interval",
        .value = number(options.stream_interval, 1, 1 << 20),
        .help = "Tokens to a chunk of a stream, unless a request sets stream_interval; the first comes at once"},
       {.names = "--any-property-order",
        .value = on_off(options.any_property_order),
        .help = "Allow properties of objects in any order where a schema binds the answer, unless a request sets "
                "any_property_order; otherwise the schema's order"},
       {.names = "--reasoning-budget",
        .value = number(options.reasoning_budget, -1, int64_t{1} << 30),
        .help = "Most tokens of reasoning, unless a request sets thinking_token_budget; -1: no limit"},
       {.names = "--keep-client-markers",
        .value = on_off(options.keep_client_markers),
        .help = "Keep the changing lines of coding agents in system prompts, at the cost of the prefix cache"},
       {.names = "--allow-request-templates",
        .value = on_off(options.allow_request_templates),
        .help = "Let requests replace the chat template by their field chat_template"}});
  options.chat_template.add(command, /*with_tools=*/true);
}

void add_pool(Command& command, ServeOptions& options) {
  command.add({.title = "KV cache", .has_environment = true},
              {{.names = "--kv-size,--kv-cache-memory-bytes",
                .value = gibibytes(options.kv_bytes, 1),
                .help = "Memory of the KV pool, which all sequences share, for example 4GiB; a number alone is GiB",
                .default_text =
                    fmt::format("room for every sequence at {} positions, and for one of --ctx-size", kUsualPositions)},
               {.names = "--populate-kv",
                .value = on_off(options.populate_kv),
                .help = "Take the pool's memory from the system after the start; otherwise as blocks are first used"}});
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
  sampling.add_defaults(command);
  speculation.add(command);
  kv_store.add(command);
  model.add_limits(command);
  add_pool(command, *this);
  model.add_compute(command);
  scheduling.add(command);
  scheduling.add_run_ahead(command);
}

int64_t served_blocks(const MemoryPlan& plan, const RunnerOptions& options, std::optional<uint64_t> kv_bytes) {
  if (kv_bytes) {
    const double share = static_cast<double>(*kv_bytes) / static_cast<double>(std::max<uint64_t>(1, plan.kv_bytes));
    return std::max<int64_t>(1, static_cast<int64_t>(share * static_cast<double>(plan.num_blocks)));
  }
  const int64_t longest = blocks_for(options.max_context);
  const int64_t usual = options.max_sequences * std::min(longest, blocks_for(kUsualPositions));
  return std::min(plan.num_blocks, std::max(longest, usual));
}

RunnerOptions ServeOptions::runner_options(const Checkpoint& checkpoint) const {
  RunnerOptions runner = model.runner_options(&checkpoint);
  scheduling.apply_to(runner);
  const SpeculationOptions drafting = speculation.resolve();
  make_room_for_drafts(runner, drafting);
  make_room_for_known_drafts(runner);
  runner.populate_kv = populate_kv;
  if (runner.max_context == 0) runner.max_context = ModelRunner::info(checkpoint).max_context;
  const MemoryPlan plan = plan_with_drafter(drafting, checkpoint, runner).target;
  // A model that does not fit is refused with the settings for one sequence that would.
  if (plan.fits) runner.num_blocks = served_blocks(plan, runner, kv_bytes);
  return runner;
}

ListenerOptions ServeOptions::listener_options() const {
  ListenerOptions checked = listener;
  if (checked.certificate_file.empty() != checked.key_file.empty()) {
    fail(ErrorCode::kInvalidArgument, "TLS needs both --ssl-certfile and --ssl-keyfile; one is missing");
  }
  std::vector<std::string> all_hosts = hosts;
  if (hosts.empty() && listener.unix_path.empty()) all_hosts = {"127.0.0.1"};
  for (const std::string& host : all_hosts) {
    if (host.empty())
      fail(ErrorCode::kInvalidArgument, "--host is empty; give a name or an address, such as 127.0.0.1");
    checked.addresses.push_back({host, port});
  }
  checked.has_web_page = !no_web_page;
  checked.log_requests = parse_request_log(log_requests);
  return checked;
}

Limits ServeOptions::server_limits() const {
  Limits set;
  for (const std::string& limit : limits) set_limit(set, limit);
  return set;
}

std::vector<std::string> ServeOptions::model_names(const std::string& plain_name) const {
  std::vector<std::string> names;
  for (std::string_view list : served_names) {
    while (true) {
      const size_t comma = std::min(list.find(','), list.size());
      if (comma == 0)
        fail(ErrorCode::kInvalidArgument, "--served-model-name has an empty name; write NAME or NAME,NAME");
      std::string name(list.substr(0, comma));
      if (std::find(names.begin(), names.end(), name) != names.end()) {
        fail(ErrorCode::kInvalidArgument, "--served-model-name has the name '{}' twice; give it once", printable(name));
      }
      names.push_back(std::move(name));
      if (comma == list.size()) break;
      list.remove_prefix(comma + 1);
    }
  }
  if (names.empty()) names.push_back(plain_name);
  return names;
}

EngineOptions ServeOptions::engine_options() const {
  EngineOptions engine;
  engine.scheduler = scheduling.scheduler_options();
  engine.run_ahead = scheduling.run_ahead;
  engine.speculation = speculation.resolve();
  engine.max_queued_requests = max_queued_requests;
  engine.max_queued_tokens = max_queued_tokens;
  engine.seed = seed < 0 ? std::random_device()() : static_cast<uint64_t>(seed);
  return engine;
}

}  // namespace quire
