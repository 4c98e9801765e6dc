// The table of endpoints: paths, access and handlers. Immutable; any thread.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "server/apis/error_form.h"
#include "server/endpoints/endpoints.h"

namespace quire {

enum class Scope : uint8_t {
  kPublic,  // without a key: the answer reveals nothing about models, users or requests
  kKey,     // one of the API keys, when the server has any
};

enum class Runs : uint8_t {
  kInline,  // on the thread of the socket: its time does not depend on what the client sent
  kWorker,  // on a worker: parses a body, renders a template, tokenises
  kEngine,  // the same, and refused before that while the engine's queue is full
};

struct Route {
  // None has a default, so that every endpoint states its access, where it runs and how it says errors.
  constexpr Route(std::string_view its_method, std::string_view its_pattern, Scope its_scope, Runs its_place,
                  const ErrorForm& its_errors, Handler its_handler)
      : method(its_method),
        pattern(its_pattern),
        scope(its_scope),
        runs(its_place),
        errors(its_errors),
        handle(its_handler) {}

  std::string_view method;   // GET answers HEAD as well
  std::string_view pattern;  // a path; a segment in braces matches any, the last one slashes included
  Scope scope;
  Runs runs;
  const ErrorForm& errors;  // of the API whose path it is
  Handler handle;
};

std::span<const Route> routes();
// A path as the table writes it: without the server's root path ("/llm", or empty), without slashes at its end, and
// with the /v1 that a client's base URL left out, without the one that it put before, and without Azure's
// /openai/deployments/NAME. Other paths stay as they are. Access is decided by this form alone.
std::string canonical_path(std::string_view path, std::string_view root_path);
// Null when there is none.
const Route* find_route(std::string_view method, std::string_view path);
// The form of errors at a path, whatever the method; OpenAI's where there is no such path.
const ErrorForm& errors_at(std::string_view path);
// Calls the handler. What it throws becomes the reply; requests that were to use a model then count as rejected.
void run_route(const Route& route, ServerContext& context, const ExchangePtr& exchange);
// The same for work that the handler left for later.
void run_for_route(const Route& route, ServerContext& context, const ExchangePtr& exchange,
                   const std::function<void()>& work);
// A path's methods, for the Allow header field: "GET, HEAD"; empty when there is no such path.
std::string allowed_methods(std::string_view path);

}  // namespace quire
