// `quire serve`: the model behind HTTP. Listens first, loads, serves, and drains on SIGTERM.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <utility>

#include "apps/commands.h"
#include "apps/loaded_drafter.h"
#include "apps/loaded_model.h"
#include "apps/serve_options.h"
#include "apps/units.h"
#include "base/error.h"
#include "server/server_process.h"

namespace quire {
namespace {

std::string plain_name(const std::string& model) {
  std::filesystem::path path = model;
  if (!path.has_filename()) path = path.parent_path();  // "folder/"
  return path.extension() == ".gguf" ? path.stem() : path.filename();
}

// The format most of the weights have.
std::string quantisation_of(const Checkpoint& checkpoint, const RunnerOptions& options) {
  if (options.weight_format) return weight_format(*options.weight_format).name;
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

// Where a browser on this machine finds the page; empty when only a Unix socket is listened on.
std::string page_url(const Listener& listener, bool is_tls) {
  if (listener.addresses().empty()) return "";
  http::Address address = listener.addresses()[0];
  if (address.host == "0.0.0.0") address.host = "127.0.0.1";
  if (address.host == "::") address.host = "::1";
  return url_of(address, is_tls);
}

// Everything but the weights that decides the bits of a logit.
std::string arithmetic_of(const ModelRunner& runner) {
  const RunnerOptions& options = runner.options();
  return fmt::format("{} {} {} ranks {} K {} V {} {}", runner.isa(), options.device,
                     activations_name(options.activations), options.tensor_parallel,
                     weight_format(options.k_format).name, weight_format(options.v_format).name,
                     options.one_answer ? "one answer" : "any answer");
}

ModelCard model_card(const ServeOptions& options, const Checkpoint& checkpoint, const Engine& engine) {
  const ModelRunner& runner = engine.runner();
  const std::string name = plain_name(options.model.model);
  const std::vector<std::string> names = options.model_names(name);
  return {.id = names[0],
          .aliases = {names.begin() + 1, names.end()},
          .root = name,
          .created = static_cast<int64_t>(std::time(nullptr)),
          .max_model_len = engine.max_sequence_tokens(),
          .trained_context = runner.info().max_context,
          .vocab_size = runner.info().vocab_size,
          .num_parameters = runner.info().num_parameters,
          .weight_bytes = runner.plan().weight_bytes,
          .kv_bytes = runner.plan().kv_bytes,
          .activation_bytes = runner.plan().workspace_bytes,
          .architecture = runner.info().architecture,
          .file_format = checkpoint.is_gguf() ? "gguf" : "safetensors",
          .weight_format = quantisation_of(checkpoint, runner.options()),
          .arithmetic = arithmetic_of(runner)};
}

void print_table(const ServeOptions& options, const Checkpoint& checkpoint, const LoadedModel& model,
                 const Listener& listener) {
  const ModelRunner& runner = model.engine->runner();
  const ModelCard& card = model.card;
  const auto line = [](const char* what, const std::string& value) { fmt::print("{:<12}{}\n", what, value); };
  const MemoryPlan& plan = runner.plan();
  const int64_t positions = plan.num_blocks * kKvBlockSize;
  line("model", fmt::format("{}  ({}, {} parameters, {})", card.id, card.architecture,
                            format_parameters(card.num_parameters), quantisation_of(checkpoint, runner.options())));
  line("context", fmt::format("{} positions, {} sequences at once", format_count(card.max_model_len),
                              runner.options().max_sequences));
  line("memory", fmt::format("weights {}{} + KV cache {} ({} positions in all; --kv-size changes it) + activations {}",
                             format_bytes(plan.weight_bytes), plan.cached_bytes > 0 ? " (cached)" : "",
                             format_bytes(plan.kv_bytes), format_count(static_cast<uint64_t>(positions)),
                             format_bytes(plan.workspace_bytes)));
  if (plan.streamed.num_layers > 0) {
    line("", fmt::format("{} of the weights stay on disk: {} of {} layers are read in every step",
                         format_bytes(plan.streamed.bytes), plan.streamed.num_layers,
                         plan.streamed.num_layers + plan.streamed.num_resident_layers));
  }
  line("compute",
       fmt::format("{}, {} threads, {} kernels", runner.device(), runner.options().num_threads, runner.isa()));
  for (const http::Address& address : listener.addresses()) {
    line("listening", url_of(address, !options.listener.certificate_file.empty()));
  }
  if (!options.listener.unix_path.empty()) line("listening", options.listener.unix_path);
  line("API key", listener.requires_key() ? "required" : "none: anyone who can reach this address can use the server");
  const std::string page = page_url(listener, !options.listener.certificate_file.empty());
  if (!options.no_web_page && !page.empty()) fmt::print("\nopen {} in a browser\n", page);
  std::fflush(stdout);
}

// Of requests that leave them out. Throws Error for values outside their ranges.
SamplingParams default_sampling(const ServeOptions& options, const Checkpoint& checkpoint) {
  const SamplingParams params = options.sampling.resolve(checkpoint.generation_config());
  params.validate(ModelRunner::info(checkpoint).vocab_size);
  return params;
}

// Throws Error for a model that does not fit. Returns the bytes it needs.
uint64_t check_model(const ServeOptions& options, const Checkpoint& checkpoint) {
  const RunnerOptions runner = options.runner_options(checkpoint);
  const PlannedModels plan = check_with_drafter(options.speculation.resolve(), checkpoint, runner);
  if (!plan.target.fits) {
    fail(ErrorCode::kOutOfMemory, "the model needs {} and {} are allowed\n{}", format_bytes(plan.total_bytes()),
         format_bytes(plan.allowed_bytes()), plan.target.advice);
  }
  options.chat_template.apply_to(*TextProcessor::load(checkpoint));
  default_sampling(options, checkpoint);
  return plan.total_bytes();
}

// `drafter_checkpoint` must outlive the model.
LoadedModel load_model(const ServeOptions& options, const Checkpoint& checkpoint,
                       std::unique_ptr<Checkpoint>& drafter_checkpoint) {
  LoadedModel model;
  model.default_sampling = default_sampling(options, checkpoint);
  model.text = TextProcessor::load(checkpoint);
  options.chat_template.apply_to(*model.text);
  options.sampling.find_breakers(model.default_sampling, model.text->tokenizer());
  EngineOptions engine = options.engine_options();
  options.kv_store.apply_to(engine, checkpoint);
  LoadedModels models = load_with_drafter(engine.speculation, checkpoint, options.runner_options(checkpoint));
  drafter_checkpoint = std::move(models.drafter_checkpoint);
  model.engine = std::make_unique<Engine>(std::move(models.target), engine, std::move(models.drafter));
  model.card = model_card(options, checkpoint, *model.engine);
  return model;
}

void serve(const ServeOptions& options) {
  options.model_names(plain_name(options.model.model));
  options.engine_options();  // values that do not go together are refused before anything is opened
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(options.model.model);
  std::unique_ptr<Checkpoint> drafter_checkpoint;
  uint64_t needed_bytes = 0;
  ListenerOptions listening = options.listener_options();
  if (!options.check) listening.tenant_secret = options.kv_store.tenant_secret();
  const ServerConfig config = {
      .listener = std::move(listening),
      .limits = options.server_limits(),
      .stream_interval = options.stream_interval,
      .allow_request_templates = options.allow_request_templates,
      .drop_client_markers = !options.keep_client_markers,
      .parse_special = !options.no_parse_special,
      .any_property_order = options.any_property_order,
      .reasoning_budget = options.reasoning_budget,
      .batch_store = options.batch_store,
      .drain_delay = std::chrono::seconds(options.drain_delay_seconds),
      .drain_limit = std::chrono::seconds(options.drain_seconds),
      .check_model = [&] { needed_bytes = check_model(options, *checkpoint); },
      .load_model = [&] { return load_model(options, *checkpoint, drafter_checkpoint); },
      .on_ready = [&](const LoadedModel& model,
                      const Listener& listener) { print_table(options, *checkpoint, model, listener); }};
  if (!options.check) return run_server(config);
  validate_server(config);
  fmt::print("configuration OK: {} needs {} of memory\n", plain_name(options.model.model), format_bytes(needed_bytes));
}

}  // namespace

void add_serve_command(Command& program) {
  Command& command = program.add_command("serve", "Serve a model over HTTP with OpenAI's API and a web page");
  const auto options = std::make_shared<ServeOptions>();
  options->add(command);
  command.on_run([options] { serve(*options); });
}

}  // namespace quire
