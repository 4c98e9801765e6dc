#include "server/routes.h"

#include <array>

namespace quire {
namespace {

constexpr std::array kRoutes = {
    Route{"GET", "/health", Scope::kPublic, handle_health},
    Route{"GET", "/livez", Scope::kPublic, handle_livez},
    Route{"GET", "/readyz", Scope::kPublic, handle_readyz},
    Route{"GET", "/version", Scope::kKey, handle_version},
    Route{"GET", "/metrics", Scope::kKey, handle_metrics},
    Route{"GET", "/status", Scope::kKey, handle_status},
    Route{"GET", "/openapi.json", Scope::kKey, handle_openapi},
    Route{"GET", "/v1/models", Scope::kKey, handle_models},
    Route{"GET", "/v1/models/{id}", Scope::kKey, handle_models},
    Route{"POST", "/v1/chat/completions", Scope::kKey, handle_chat_completions},
    Route{"POST", "/v1/completions", Scope::kKey, handle_completions},
    Route{"POST", "/v1/embeddings", Scope::kKey, handle_embeddings},
    Route{"POST", "/tokenize", Scope::kKey, handle_tokenize},
    Route{"POST", "/detokenize", Scope::kKey, handle_detokenize},
    Route{"GET", "/tokenizer_info", Scope::kKey, handle_tokenizer_info},
};

bool matches(std::string_view pattern, std::string_view path) {
  const size_t brace = pattern.find('{');
  if (brace == std::string_view::npos) return pattern == path;
  return path.size() > brace && path.substr(0, brace) == pattern.substr(0, brace);
}

}  // namespace

std::span<const Route> routes() { return kRoutes; }

const Route* find_route(std::string_view method, std::string_view path) {
  if (method == "HEAD") method = "GET";
  for (const Route& route : kRoutes) {
    if (route.method == method && matches(route.pattern, path)) return &route;
  }
  return nullptr;
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
