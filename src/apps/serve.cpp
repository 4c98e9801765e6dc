// `quire serve`: the model behind HTTP. Listens first, loads, serves, and drains on SIGTERM.

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>

#include "apps/commands.h"
#include "apps/loaded_model.h"
#include "apps/serve_options.h"
#include "apps/stop_signals.h"
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

// Each connection needs a descriptor. Returns how many the process may have.
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

// OpenAI's defaults where the model has none, not those of `quire run`.
SamplingParams default_sampling(const Checkpoint& checkpoint) {
  return SamplingOptions().resolve(checkpoint.generation_config());
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
  line("API key", listener.requires_key() ? "required" : "none: anyone who can reach this address can use the server");
  std::fflush(stdout);
}

// Checks all that can fail at start, without listening and without loading weights.
void check(const ServeOptions& options) {
  options.scheduling.scheduler_options();
  const ListenerOptions listener = options.listener_options();
  const ApiKeys keys(listener.api_keys, listener.api_key_file);
  const OriginPolicy origins({.allowed_hosts = listener.allowed_hosts, .cors_origins = listener.cors_origins});
  if (!listener.certificate_file.empty()) http::TlsFiles(listener.certificate_file, listener.key_file);
  const auto checkpoint = open_checkpoint(options.model.model);
  const MemoryPlan plan = ModelRunner::plan(*checkpoint, options.runner_options());
  if (!plan.fits) {
    fail(ErrorCode::kOutOfMemory, "the model needs {} and {} are allowed\n{}", format_bytes(plan.total_bytes),
         format_bytes(plan.allowed_bytes), plan.advice);
  }
  TextProcessor::load(*checkpoint);
  fmt::print("configuration OK: {} needs {} of memory\n", plain_name(options.model.model),
             format_bytes(plan.total_bytes));
}

void serve(const ServeOptions& options) {
  if (options.check) return check(options);
  StopSignals& signals = StopSignals::instance();
  signals.catch_them();

  // Destroyed in reverse order: the thread of the engine stops, then the listener closes, then the engine ends.
  Metrics metrics;
  ServerContext context;
  context.metrics = &metrics;
  constexpr int kOwnDescriptors = 64;  // model files, listeners and the like
  context.limits.connections =
      static_cast<int>(std::clamp<int64_t>(raise_descriptor_limit() - kOwnDescriptors, 16, context.limits.connections));
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(options.model.model);
  std::unique_ptr<TextProcessor> text;
  std::unique_ptr<Engine> engine;
  Listener listener(context, options.listener_options());
  signals.remove_at_exit(options.listener.unix_path);

  text = TextProcessor::load(*checkpoint);
  const EngineOptions settings = options.engine_options();
  engine = std::make_unique<Engine>(load_runner(*checkpoint, options.runner_options()), settings);
  std::string stop_reason;  // of an engine that cannot go on; set before stop()
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
    fail(ErrorCode::kIo, "the engine has stopped: {}", stop_reason);
  }
}

}  // namespace

void add_serve_command(Command& program) {
  Command& command = program.add_command("serve", "Serve a model over HTTP with OpenAI's interface");
  const auto options = std::make_shared<ServeOptions>();
  options->add(command);
  command.on_run([options] { serve(*options); });
}

}  // namespace quire
