#include "server/endpoints/routes.h"

#include <algorithm>
#include <array>

#include "server/answers/answer_errors.h"
#include "server/metrics/metrics.h"

namespace quire {
namespace {

constexpr std::array kRoutes = {
    Route{"GET", "/health", Scope::kPublic, Runs::kInline, kOpenAiErrors, handle_health},
    Route{"GET", "/livez", Scope::kPublic, Runs::kInline, kOpenAiErrors, handle_livez},
    Route{"GET", "/readyz", Scope::kPublic, Runs::kInline, kOpenAiErrors, handle_readyz},
    Route{"GET", "/version", Scope::kKey, Runs::kInline, kOpenAiErrors, handle_version},
    Route{"GET", "/metrics", Scope::kKey, Runs::kInline, kOpenAiErrors, handle_metrics},
    Route{"GET", "/status", Scope::kKey, Runs::kInline, kOpenAiErrors, handle_status},
    Route{"GET", "/openapi.json", Scope::kKey, Runs::kInline, kOpenAiErrors, handle_openapi},
    Route{"GET", "/v1/models", Scope::kKey, Runs::kInline, kOpenAiErrors, handle_models},
    Route{"GET", "/v1/models/{id}", Scope::kKey, Runs::kInline, kOpenAiErrors, handle_models},
    Route{"POST", "/v1/chat/completions", Scope::kKey, Runs::kEngine, kOpenAiErrors, handle_chat_completions},
    Route{"POST", "/v1/chat/completions/input_tokens", Scope::kKey, Runs::kWorker, kOpenAiErrors,
          handle_chat_input_tokens},
    Route{"POST", "/v1/completions", Scope::kKey, Runs::kEngine, kOpenAiErrors, handle_completions},
    Route{"POST", "/v1/embeddings", Scope::kKey, Runs::kEngine, kOpenAiErrors, handle_embeddings},
    Route{"POST", "/v1/messages", Scope::kKey, Runs::kEngine, kAnthropicErrors, handle_messages},
    Route{"POST", "/v1/messages/count_tokens", Scope::kKey, Runs::kWorker, kAnthropicErrors, handle_count_tokens},
    Route{"POST", "/v1/responses", Scope::kKey, Runs::kEngine, kResponsesErrors, handle_responses},
    Route{"POST", "/v1/responses/input_tokens", Scope::kKey, Runs::kWorker, kResponsesErrors,
          handle_responses_input_tokens},
    Route{"GET", "/v1/responses/{id}/input_items", Scope::kKey, Runs::kWorker, kResponsesErrors,
          handle_response_input_items},
    Route{"GET", "/v1/responses/{id}", Scope::kKey, Runs::kInline, kResponsesErrors, handle_response},
    Route{"DELETE", "/v1/responses/{id}", Scope::kKey, Runs::kInline, kResponsesErrors, handle_delete_response},
    Route{"POST", "/tokenize", Scope::kKey, Runs::kWorker, kTokenizeErrors, handle_tokenize},
    Route{"POST", "/detokenize", Scope::kKey, Runs::kWorker, kTokenizeErrors, handle_detokenize},
    Route{"GET", "/tokenizer_info", Scope::kKey, Runs::kInline, kTokenizeErrors, handle_tokenizer_info},
    Route{"POST", "/v1/rerank", Scope::kKey, Runs::kEngine, kOpenAiErrors, handle_rerank},
    Route{"POST", "/v2/rerank", Scope::kKey, Runs::kEngine, kOpenAiErrors, handle_rerank},
    Route{"POST", "/v1/score", Scope::kKey, Runs::kEngine, kOpenAiErrors, handle_score},
    Route{"POST", "/v1/files", Scope::kKey, Runs::kWorker, kOpenAiErrors, handle_upload_file},
    Route{"GET", "/v1/files", Scope::kKey, Runs::kWorker, kOpenAiErrors, handle_files},
    Route{"GET", "/v1/files/{id}", Scope::kKey, Runs::kWorker, kOpenAiErrors, handle_file},
    Route{"DELETE", "/v1/files/{id}", Scope::kKey, Runs::kWorker, kOpenAiErrors, handle_delete_file},
    Route{"POST", "/v1/batches", Scope::kKey, Runs::kWorker, kOpenAiErrors, handle_create_batch},
    Route{"GET", "/v1/batches", Scope::kKey, Runs::kWorker, kOpenAiErrors, handle_batches},
    Route{"GET", "/v1/batches/{id}", Scope::kKey, Runs::kWorker, kOpenAiErrors, handle_batch},
    Route{"POST", "/v1/batches/{id}", Scope::kKey, Runs::kWorker, kOpenAiErrors, handle_cancel_batch},
    Route{"POST", "/completion", Scope::kKey, Runs::kEngine, kTokenizeErrors, handle_llama_completion},
    Route{"POST", "/infill", Scope::kKey, Runs::kEngine, kTokenizeErrors, handle_llama_infill},
    Route{"POST", "/apply-template", Scope::kKey, Runs::kWorker, kTokenizeErrors, handle_llama_template},
    Route{"GET", "/props", Scope::kKey, Runs::kInline, kTokenizeErrors, handle_llama_props},
    Route{"GET", "/slots", Scope::kKey, Runs::kInline, kTokenizeErrors, handle_llama_slots},
    Route{"GET", "/api/version", Scope::kKey, Runs::kInline, kOllamaErrors, handle_ollama_version},
    Route{"GET", "/api/tags", Scope::kKey, Runs::kInline, kOllamaErrors, handle_ollama_tags},
    Route{"GET", "/api/ps", Scope::kKey, Runs::kInline, kOllamaErrors, handle_ollama_ps},
    Route{"POST", "/api/show", Scope::kKey, Runs::kWorker, kOllamaErrors, handle_ollama_show},
    Route{"POST", "/api/pull", Scope::kKey, Runs::kWorker, kOllamaErrors, handle_ollama_pull},
    Route{"POST", "/api/push", Scope::kKey, Runs::kInline, kOllamaErrors, handle_ollama_manage},
    Route{"POST", "/api/create", Scope::kKey, Runs::kInline, kOllamaErrors, handle_ollama_manage},
    Route{"POST", "/api/copy", Scope::kKey, Runs::kInline, kOllamaErrors, handle_ollama_manage},
    Route{"DELETE", "/api/delete", Scope::kKey, Runs::kInline, kOllamaErrors, handle_ollama_manage},
    Route{"POST", "/api/chat", Scope::kKey, Runs::kEngine, kOllamaErrors, handle_ollama_chat},
    Route{"POST", "/api/generate", Scope::kKey, Runs::kEngine, kOllamaErrors, handle_ollama_generate},
    Route{"POST", "/api/embed", Scope::kKey, Runs::kEngine, kOllamaErrors, handle_ollama_embed},
    Route{"POST", "/api/embeddings", Scope::kKey, Runs::kEngine, kOllamaErrors, handle_ollama_embeddings},
};

// Segment by segment; the last one in braces takes the rest.
bool matches(std::string_view pattern, std::string_view path) {
  for (size_t brace = pattern.find('{'); brace != std::string_view::npos; brace = pattern.find('{')) {
    if (path.size() <= brace || path.substr(0, brace) != pattern.substr(0, brace)) return false;
    const size_t close = pattern.find('}', brace) + 1;
    if (close == pattern.size()) return true;
    const size_t slash = path.find('/', brace);
    if (slash == brace || slash == std::string_view::npos) return false;
    pattern.remove_prefix(close);
    path.remove_prefix(slash);
  }
  return pattern == path;
}

bool is_known(std::string_view path) {
  return std::any_of(kRoutes.begin(), kRoutes.end(), [&](const Route& route) { return matches(route.pattern, path); });
}

// Without what clients of Azure OpenAI put before an operation: /openai, and /deployments/NAME. The request's body
// names the model.
std::string_view without_deployment(std::string_view path) {
  constexpr std::string_view kPrefix = "/openai", kDeployments = "/deployments/";
  if (!path.starts_with("/openai/")) return path;
  path.remove_prefix(kPrefix.size());
  if (!path.starts_with(kDeployments)) return path;
  const size_t end = path.find('/', kDeployments.size());
  return end == std::string_view::npos ? path : path.substr(end);
}

}  // namespace

std::span<const Route> routes() { return kRoutes; }

std::string canonical_path(std::string_view path, std::string_view root_path) {
  if (!root_path.empty() && path.starts_with(root_path)) {
    const std::string_view below = path.substr(root_path.size());
    if (below.empty()) return "/";
    if (below.front() == '/') path = below;
  }
  std::string_view plain = without_deployment(path);
  while (plain.size() > 1 && plain.ends_with('/')) plain.remove_suffix(1);
  if (is_known(plain)) return std::string(plain);
  constexpr std::string_view kVersion = "/v1";
  std::string versioned = std::string(kVersion) + std::string(plain);
  if (is_known(versioned)) return versioned;
  if (plain.starts_with(kVersion) && is_known(plain.substr(kVersion.size()))) {
    return std::string(plain.substr(kVersion.size()));
  }
  return std::string(path);
}

const Route* find_route(std::string_view method, std::string_view path) {
  if (method == "HEAD") method = "GET";
  for (const Route& route : kRoutes) {
    if (route.method == method && matches(route.pattern, path)) return &route;
  }
  return nullptr;
}

const ErrorForm& errors_at(std::string_view path) {
  const auto route =
      std::find_if(kRoutes.begin(), kRoutes.end(), [&](const Route& each) { return matches(each.pattern, path); });
  return route != kRoutes.end() ? route->errors : kOpenAiErrors;
}

void run_route(const Route& route, ServerContext& context, const ExchangePtr& exchange) {
  run_for_route(route, context, exchange, [&] { route.handle(context, exchange); });
}

void run_for_route(const Route& route, ServerContext& context, const ExchangePtr& exchange,
                   const std::function<void()>& work) {
  answer_errors(exchange, route.errors, work, [&](const ApiError& error) {
    if (route.runs == Runs::kInline) return;
    context.metrics->add_rejected(error.code().empty() ? error.type() : error.code());
  });
}

std::string allowed_methods(std::string_view path) {
  std::string allowed;
  for (const Route& route : kRoutes) {
    if (!matches(route.pattern, path)) continue;
    if (!allowed.empty()) allowed += ", ";
    allowed += route.method;
    if (route.method == "GET") allowed += ", HEAD";
  }
  return allowed.empty() ? "" : allowed + ", OPTIONS";
}

}  // namespace quire
