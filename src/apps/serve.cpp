// `quire serve`: the model behind HTTP. Listens first, loads, serves, and drains on SIGTERM.

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include "apps/command.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/scheduling_options.h"
#include "apps/units.h"
#include "base/error.h"
#include "engine/engine_thread.h"
#include "server/auth.h"
#include "server/http/transport.h"
#include "server/listener.h"
#include "server/metrics.h"
#include "server/origin_policy.h"

namespace quire {
namespace {

constexpr int64_t kServedSequences = 32;
constexpr int64_t kServedBatchTokens = 512;

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
};

// SIGTERM and SIGINT as an event: the first lets the server drain, the second ends the process at once. Blocked in
// every thread, taken by one of its own. Lives as long as the process.
class StopSignals {
 public:
  static StopSignals& instance() {
    static StopSignals* const signals = new StopSignals;
    return *signals;
  }

  // Before any other thread is started: they inherit the mask.
  void catch_them() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    std::thread([this] { work(); }).detach();
  }
  // What a process that is stopped while it loads leaves behind.
  void remove_at_exit(std::string path) { socket_path_ = std::move(path); }
  // From now on a signal lets the server drain instead of ending the process. Before the first request is taken.
  void start_serving() {
    const std::lock_guard lock(mutex_);
    is_serving_ = true;
  }
  // As a signal does.
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      has_arrived_ = true;
    }
    arrived_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return has_arrived_; });
  }

 private:
  void work() {
    int signal = 0;
    ::sigwait(&set_, &signal);
    {
      const std::lock_guard lock(mutex_);
      if (!is_serving_) leave(0);  // nothing runs yet that could be finished
      has_arrived_ = true;
    }
    arrived_.notify_all();
    fmt::print(stderr, "\nquire: finishing what runs; a second signal stops at once\n");
    ::sigwait(&set_, &signal);
    leave(128 + signal);
  }
  [[noreturn]] void leave(int code) {
    if (!socket_path_.empty()) ::unlink(socket_path_.c_str());
    ::_exit(code);
  }

  sigset_t set_ = {};
  std::mutex mutex_;
  std::condition_variable arrived_;
  bool is_serving_ = false;
  bool has_arrived_ = false;
  std::string socket_path_;
};

// Thousands of connections need as many descriptors. Gives the number there are.
int64_t raise_descriptor_limit() {
  struct rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, 1 << 30));
}

std::string plain_name(const std::string& model) {
  std::filesystem::path path = model;
  if (!path.has_filename()) path = path.parent_path();  // "folder/"
  return path.extension() == ".gguf" ? path.stem() : path.filename();
}

// The format most of the weights have.
std::string quantisation_of(const Checkpoint& checkpoint) {
  std::map<std::string, uint64_t> bytes;
  for (const auto& tensor : checkpoint.all_tensors()) {
    bytes[weight_format(tensor.view.format).name] += tensor.view.size_bytes;
  }
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most != bytes.end() ? most->first : "none";
}

std::string url_of(const http::Address& address, bool is_tls) {
  const bool is_v6 = address.host.find(':') != std::string::npos;
  return fmt::format("{}://{}:{}", is_tls ? "https" : "http", is_v6 ? "[" + address.host + "]" : address.host,
                     address.port);
}

SamplingParams default_sampling(const Checkpoint& checkpoint) {
  CLI::App nothing_given;
  SamplingOptions sampling;
  sampling.add(nothing_given);
  sampling.params = SamplingParams();  // OpenAI's defaults beneath the model's own, not those of `quire run`
  return sampling.resolve(checkpoint.generation_config());
}

RunnerOptions runner_options(const ServeOptions& options) {
  RunnerOptions runner = options.model.runner_options();
  options.scheduling.apply_to(runner);
  runner.populate_kv = true;
  return runner;
}

ListenerOptions listener_options(const ServeOptions& options) {
  ListenerOptions listener = options.listener;
  if (listener.certificate_file.empty() != listener.key_file.empty()) {
    fail(ErrorCode::kInvalidArgument, "TLS needs both --ssl-certfile and --ssl-keyfile; one is missing");
  }
  for (const std::string& host : options.hosts) {
    if (host.empty())
      fail(ErrorCode::kInvalidArgument, "--host is empty; give a name or an address, such as 127.0.0.1");
    listener.addresses.push_back({host, options.port});
  }
  listener.has_web_page = !options.no_web_page;
  listener.log_requests = parse_request_log(options.log_requests);
  return listener;
}

EngineOptions engine_options(const ServeOptions& options) {
  EngineOptions engine;
  engine.scheduler = options.scheduling.scheduler_options();
  engine.run_ahead = options.scheduling.run_ahead;
  engine.max_queued_requests = options.max_queued_requests;
  engine.max_queued_tokens = options.max_queued_tokens;
  engine.seed = std::random_device()();
  return engine;
}

ModelCard model_card(const ServeOptions& options, const ModelRunner& runner, const Engine& engine) {
  const std::string name = plain_name(options.model.model);
  return {.id = options.served_name.empty() ? name : options.served_name,
          .root = name,
          .created = static_cast<int64_t>(std::time(nullptr)),
          .max_model_len = engine.max_sequence_tokens(),
          .vocab_size = runner.info().vocab_size,
          .num_parameters = runner.info().num_parameters,
          .weight_bytes = runner.plan().weight_bytes,
          .kv_bytes = runner.plan().kv_bytes,
          .activation_bytes = runner.plan().workspace_bytes,
          .architecture = runner.info().architecture};
}

void print_table(const ServeOptions& options, const Checkpoint& checkpoint, const ModelRunner& runner,
                 const ModelCard& card, const Listener& listener) {
  const auto line = [](const char* what, const std::string& value) { fmt::print("{:<12}{}\n", what, value); };
  const MemoryPlan& plan = runner.plan();
  const int64_t positions = plan.num_blocks * kKvBlockSize;
  line("model", fmt::format("{}  ({}, {} parameters, {})", card.id, card.architecture,
                            format_parameters(card.num_parameters), quantisation_of(checkpoint)));
  line("context", fmt::format("{} positions, {} sequences at once", format_count(card.max_model_len),
                              runner.options().max_sequences));
  line("memory", fmt::format("weights {} + KV cache {} ({} positions) + activations {}",
                             format_bytes(plan.weight_bytes), format_bytes(plan.kv_bytes),
                             format_count(static_cast<uint64_t>(positions)), format_bytes(plan.workspace_bytes)));
  line("compute",
       fmt::format("{}, {} threads, {} kernels", runner.device(), runner.options().num_threads, runner.isa()));
  for (const http::Address& address : listener.addresses()) {
    line("listening", url_of(address, !options.listener.certificate_file.empty()));
  }
  if (!options.listener.unix_path.empty()) line("listening", options.listener.unix_path);
  line("API key", listener.requires_key() ? "required" : "none: whoever reaches the address may use it");
  std::fflush(stdout);
}

// Everything that can be wrong, without listening and without loading weights.
void check(const ServeOptions& options) {
  options.scheduling.scheduler_options();
  const ListenerOptions listener = listener_options(options);
  const ApiKeys keys(listener.api_keys, listener.api_key_file);
  const OriginPolicy origins({.allowed_hosts = listener.allowed_hosts, .cors_origins = listener.cors_origins});
  if (!listener.certificate_file.empty()) http::TlsFiles(listener.certificate_file, listener.key_file);
  const auto checkpoint = open_checkpoint(options.model.model);
  const MemoryPlan plan = ModelRunner::plan(*checkpoint, runner_options(options));
  if (!plan.fits) {
    fail(ErrorCode::kOutOfMemory, "the plan needs {} and {} are allowed\n{}", format_bytes(plan.total_bytes),
         format_bytes(plan.allowed_bytes), plan.advice);
  }
  TextProcessor::load(*checkpoint);
  fmt::print("all is well: {} would be served in {} of memory\n", plain_name(options.model.model),
             format_bytes(plan.total_bytes));
}

void serve(const ServeOptions& options) {
  if (options.check) return check(options);
  StopSignals& signals = StopSignals::instance();
  signals.catch_them();

  // Destroyed from the last to the first: the engine's thread stops, then nobody is listened to, then the engine goes.
  Metrics metrics;
  ServerContext context;
  context.metrics = &metrics;
  constexpr int kOwnDescriptors = 64;  // model files, listeners and the like
  context.limits.connections =
      static_cast<int>(std::clamp<int64_t>(raise_descriptor_limit() - kOwnDescriptors, 16, context.limits.connections));
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(options.model.model);
  std::unique_ptr<TextProcessor> text;
  std::unique_ptr<Engine> engine;
  Listener listener(context, listener_options(options));
  signals.remove_at_exit(options.listener.unix_path);

  text = TextProcessor::load(*checkpoint);
  const EngineOptions settings = engine_options(options);
  engine = std::make_unique<Engine>(load_runner(*checkpoint, runner_options(options)), settings);
  std::string stop_reason;  // of an engine that cannot go on; set before the signals are told
  const EngineThread engine_thread(*engine, [&](const std::string& reason) {
    stop_reason = reason;
    signals.stop();
  });
  context.engine = engine.get();
  context.text = text.get();
  context.default_sampling = default_sampling(*checkpoint);
  context.model = model_card(options, engine->runner(), *engine);
  signals.start_serving();
  context.state = ServerState::kReady;
  print_table(options, *checkpoint, engine->runner(), context.model, listener);

  signals.wait();
  listener.drain(std::chrono::seconds(options.drain_seconds));
  if (engine->health() == EngineHealth::kStopped) {
    fail(ErrorCode::kIo, "the model cannot be run any more: {}", stop_reason);
  }
}

void add_listening(CLI::App& app, ServeOptions& options) {
  const std::string group = "Listening";
  const auto add_flag = [&](CLI::Option* option) { with_environment(option->group(group)); };
  add_flag(app.add_option("--host", options.hosts, "Address to listen on; repeatable (default 127.0.0.1)"));
  add_flag(app.add_option("--port", options.port, "Port; 0 takes any that is free")->capture_default_str());
  add_flag(app.add_option("--uds", options.listener.unix_path, "Listen on this Unix socket as well"));
  add_flag(app.add_option("--ssl-certfile", options.listener.certificate_file,
                          "TLS certificate chain (PEM); read anew when it changes"));
  add_flag(app.add_option("--ssl-keyfile", options.listener.key_file, "Its private key (PEM)"));
  add_flag(app.add_option("--http-threads", options.listener.num_threads, "Threads for HTTP, templates and tokenizing")
               ->check(CLI::Range(1, 256))
               ->capture_default_str());
  add_flag(
      app.add_option("--drain-timeout", options.drain_seconds, "Seconds that running requests may take after SIGTERM")
          ->check(CLI::Range(0, 86400))
          ->capture_default_str());
  add_flag(app.add_option("--log-requests", options.log_requests, "A line per request: off, text or json")
               ->capture_default_str());
  add_flag(app.add_flag("--no-webui", options.no_web_page, "Serve no web page"));
}

void add_access(CLI::App& app, ServeOptions& options) {
  const std::string group = "Access";
  const auto add_flag = [&](CLI::Option* option) { with_environment(option->group(group)); };
  add_flag(app.add_option("--api-key", options.listener.api_keys, "Require this key; repeatable"));
  add_flag(app.add_option("--api-key-file", options.listener.api_key_file,
                          "Require a key of this file, one per line as KEY or NAME:KEY; read anew when it changes"));
  add_flag(app.add_option("--allowed-host", options.listener.allowed_hosts,
                          "Answer to this Host besides localhost; repeatable"));
  add_flag(app.add_option("--cors-origin", options.listener.cors_origins,
                          "Let web pages of this origin use the server; repeatable, * for all"));
}

void add_serving(CLI::App& app, ServeOptions& options) {
  const std::string group = "Serving";
  const auto add_flag = [&](CLI::Option* option) { with_environment(option->group(group)); };
  add_flag(app.add_option("--served-model-name,--alias", options.served_name,
                          "The name clients use (default: the file's or folder's)"));
  add_flag(app.add_option("--max-num-queued-reqs", options.max_queued_requests,
                          "Requests that may wait; above it 429 is answered")
               ->check(CLI::Range(int64_t{1}, int64_t{1} << 30).description(""))
               ->capture_default_str());
  add_flag(app.add_option("--max-num-queued-tokens", options.max_queued_tokens, "Prompt tokens that may wait")
               ->check(CLI::Range(int64_t{1}, int64_t{1} << 50).description(""))
               ->capture_default_str());
}

}  // namespace

void add_serve_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("serve", "Serve a model over HTTP with OpenAI's interface");
  const auto options = std::make_shared<ServeOptions>();
  options->model.max_sequences = kServedSequences;
  options->model.max_batch_tokens = kServedBatchTokens;
  options->model.add_model(*command);
  add_listening(*command, *options);
  add_access(*command, *options);
  add_serving(*command, *options);
  options->model.add_limits(*command);
  options->model.add_compute(*command);
  options->scheduling.add(*command);
  options->scheduling.add_run_ahead(*command);
  command->add_flag("--check", options->check, "Validate options, files and memory, then leave");
  command->callback([options] { serve(*options); });
}

}  // namespace quire
