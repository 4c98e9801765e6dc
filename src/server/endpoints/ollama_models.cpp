// Ollama's view of the served models: /api/version, /api/tags, /api/ps, /api/show; and what manages a store of models,
// which this server has not.

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <ctime>

#include "base/json.h"
#include "server/answers/answer_errors.h"
#include "server/answers/prompts.h"
#include "server/apis/ollama/answer.h"
#include "server/endpoints/endpoints.h"

namespace quire {
namespace {

// Whose interface this is: clients ask for 0.6.4 and later.
constexpr std::string_view kVersion = R"({"version":"0.12.6"})";

// Names what answers, not a file: it changes when the model does.
std::string digest(const ModelCard& card) {
  const std::string identity = fmt::format("{} {} {} {} {} {}", card.root, card.architecture, card.num_parameters,
                                           card.weight_bytes, card.vocab_size, card.weight_format);
  unsigned char bytes[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(identity.data()), identity.size(), bytes);
  std::string hex;
  for (const unsigned char byte : bytes) hex += fmt::format("{:02x}", byte);
  return hex;
}

// "135M", "7.6B".
std::string parameter_size(uint64_t count) {
  const auto number = static_cast<double>(count);
  if (number >= 1e9) return fmt::format("{:.1f}B", number / 1e9);
  if (number >= 1e6) return fmt::format("{:.1f}M", number / 1e6);
  return fmt::format("{:.1f}K", number / 1e3);
}

// "LlamaForCausalLM" -> "llama", as GGUF files call families.
std::string family(const ModelCard& card) {
  std::string name = card.architecture.substr(0, card.architecture.find("For"));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return name;
}

json::object details(const ModelCard& card) {
  return {{"parent_model", ""},
          {"format", card.file_format},
          {"family", family(card)},
          {"families", json::array{json::value(family(card))}},
          {"parameter_size", parameter_size(card.num_parameters)},
          {"quantization_level", card.weight_format}};
}

// Under one of its names.
json::object model_json(const ModelCard& card, std::string_view name) {
  return {{"name", tagged_name(name)},
          {"model", tagged_name(name)},
          {"size", card.weight_bytes},
          {"digest", digest(card)},
          {"details", details(card)}};
}

template <typename Add>
std::string list_models(const ServerContext& context, Add add) {
  json::array models;
  for (const ServedModel& model : context.models.all()) {
    std::vector<std::string> names = {model.card.id};
    names.insert(names.end(), model.card.aliases.begin(), model.card.aliases.end());
    for (const std::string& name : names) {
      json::object row = model_json(model.card, name);
      add(row, model.card);
      models.push_back(std::move(row));
    }
  }
  return json::serialize(json::object{{"models", std::move(models)}});
}

json::array capabilities(const ServedModel& model) {
  const std::string& source = model.text->chat_template_source();
  const auto mentions = [&](std::string_view word) { return source.find(word) != std::string::npos; };
  json::array list;
  if (model.engine->runner().info().has_head) list.push_back("completion");
  list.push_back("embedding");
  if (mentions("tools")) list.push_back("tools");
  if (model.text->fim_tokens()) list.push_back("insert");
  if (mentions("enable_thinking") || mentions("<think>")) list.push_back("thinking");
  return list;
}

json::object model_info(const ServedModel& model) {
  const std::string name = family(model.card);
  const ModelInfo& info = model.engine->runner().info();
  return {{"general.architecture", name},
          {"general.parameter_count", model.card.num_parameters},
          {name + ".context_length", model.card.max_model_len},
          {name + ".embedding_length", info.hidden_size},
          {name + ".block_count", info.num_layers},
          {name + ".attention.head_count", info.num_heads},
          {name + ".attention.head_count_kv", info.num_kv_heads},
          {name + ".vocab_size", model.card.vocab_size}};
}

// By the newer or the older name of the field.
ModelRequest read_model(const ServerContext& context, const ExchangePtr& exchange) {
  ModelRequest given = read_request(context, exchange->request(), kOllamaModelApi);
  return {.model = require_model(context, given.request.model), .request = std::move(given.request)};
}

}  // namespace

void handle_ollama_version(ServerContext&, const ExchangePtr& exchange) {
  exchange->reply({.body = std::string(kVersion)});
}

void handle_ollama_tags(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  exchange->reply({.body = list_models(context, [](json::object& row, const ModelCard& card) {
                     row["modified_at"] = utc_time(card.created);
                   })});
}

void handle_ollama_ps(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  // Served models stay: a time that clients show as far away.
  constexpr int64_t kAlways = 10LL * 365 * 24 * 3600;
  const int64_t expires = static_cast<int64_t>(std::time(nullptr)) + kAlways;
  exchange->reply({.body = list_models(context, [&](json::object& row, const ModelCard& card) {
                     row["size"] = card.weight_bytes + card.kv_bytes + card.activation_bytes;
                     row["size_vram"] = 0;
                     row["expires_at"] = utc_time(expires);
                     row["context_length"] = card.max_model_len;
                   })});
}

void handle_ollama_show(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  const ServedModel& model = read_model(context, exchange).model;
  exchange->reply({.body = json::serialize(json::object{{"modelfile", "FROM " + model.card.root},
                                                        {"parameters", ""},
                                                        {"template", model.text->chat_template_source()},
                                                        {"details", details(model.card)},
                                                        {"model_info", model_info(model)},
                                                        {"capabilities", capabilities(model)},
                                                        {"modified_at", utc_time(model.card.created)}})});
}

void handle_ollama_pull(ServerContext& context, const ExchangePtr& exchange) {
  require_loaded(context);
  const SamplingParams none;
  const ApiRequest request = parse_request(read_body(exchange->request(), context.limits), kOllamaModelApi,
                                           {.limits = context.limits, .default_sampling = none});
  if (context.models.find(request.model) == nullptr) {
    throw ApiError(501, "not_supported_error", "not_supported",
                   fmt::format("this server downloads no models; it serves {}. Another model: `quire serve MODEL`",
                               context.models.ids()),
                   "model");
  }
  if (!request.stream) return exchange->reply({.body = R"({"status":"success"})"});
  exchange->reply({.content_type = "application/x-ndjson", .body = "{\"status\":\"success\"}\n"});
}

void handle_ollama_manage(ServerContext&, const ExchangePtr& exchange) {
  throw ApiError(501, "not_supported_error", "not_supported",
                 fmt::format("{} is not supported: this server serves the model that `quire serve MODEL` names, with "
                             "further names by --served-model-name, and keeps no store of models",
                             exchange->request().path));
}

}  // namespace quire
