#include "server/listener.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <optional>

#include "base/cgroup.h"
#include "base/error.h"
#include "server/access/auth.h"
#include "server/access/origin_policy.h"
#include "server/answers/answer_errors.h"
#include "server/answers/compile_queue.h"
#include "server/answers/stream_group.h"
#include "server/endpoints/routes.h"
#include "server/http/content_coding.h"
#include "server/http/wire.h"
#include "server/http/worker_pool.h"
#include "server/metrics/metrics.h"
#include "server/openapi/openapi.h"
#include "server/web/web_assets.h"

namespace quire {
namespace {

constexpr const char* kPagePolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

bool is_read(std::string_view method) { return method == "GET" || method == "HEAD"; }

// By its length, which has been checked. One in chunks does not say it.
bool has_large_body(const http::Request& request) {
  const std::string_view length = request.header("content-length");
  uint64_t bytes = 0;
  std::from_chars(length.data(), length.data() + length.size(), bytes);
  return bytes >= http::kLargeJobBytes;
}

// Ollama's clients look at the root for its word that it runs. To a client that may show a page, the root is the page.
bool asks_for_ollama(const http::Request& request) {
  const std::string_view accepted = request.header("accept");
  if (!is_read(request.method) || request.path != "/" || accepted.empty()) return false;
  const auto accepts = [&](std::string_view kind) { return accepted.find(kind) != std::string_view::npos; };
  return !accepts("text/html") && !accepts("*/*");
}

http::Response asset_response(const WebAsset& asset, const http::Request& request) {
  const std::string_view tag = entity_tag(asset);
  http::Response response{.content_type = std::string(asset.content_type),
                          .body = "",
                          .headers = {{"ETag", std::string(tag)},
                                      {"Cache-Control", "no-cache"},
                                      {"Content-Security-Policy", kPagePolicy},
                                      {"Referrer-Policy", "no-referrer"},
                                      {"Cross-Origin-Opener-Policy", "same-origin"}}};
  if (request.header("if-none-match") == tag) {
    response.status = 304;
  } else {
    response.body = asset.body;
  }
  return response;
}

ApiError unauthorized() {
  return {401, "authentication_error", "invalid_api_key",
          "this server requires an API key: send 'Authorization: Bearer KEY', 'x-api-key: KEY' or 'api-key: KEY'"};
}

// What the HTTP layer refuses, in the form of the API.
http::Response refusal_response(const http::Refusal& refusal, const http::Request& request) {
  const bool is_unavailable = refusal.status == 503;
  const char* const type = is_unavailable          ? "unavailable_error"
                           : refusal.status == 500 ? "server_error"
                                                   : "invalid_request_error";
  constexpr double kRetryMs = 1000.0;
  return error_response(
      ApiError(refusal.status, type, std::string(refusal.code), refusal.message, "", is_unavailable ? kRetryMs : 0.0),
      errors_at(request.path));
}

http::Response redirect(std::string location) {
  return {.status = 308, .content_type = "", .body = "", .headers = {{"Location", std::move(location)}}};
}

ApiError unknown_coding() {
  return {415, "invalid_request_error", "unsupported_content_encoding",
          fmt::format("this server reads bodies with one Content-Encoding of {}", http::kContentCodings),
          "content-encoding"};
}

std::string checked_root_path(std::string path) {
  while (path.ends_with('/')) path.pop_back();
  // Two slashes at the beginning would make a browser take the rest for a host.
  const bool is_path = path.starts_with('/') && path.find_first_of("?#%\\ ") == std::string::npos &&
                       path.find("//") == std::string::npos;
  if (!path.empty() && !is_path) {
    fail(ErrorCode::kInvalidArgument, "--root-path '{}' is not a path; write one such as /llm", printable(path));
  }
  return path;
}

ApiError workers_busy() {
  constexpr double kRetryMs = 1000.0;
  return {429,     "rate_limit_error", "workers_busy", "too many requests wait to be read; try again in a second", "",
          kRetryMs};
}

// Ends a stream that a drain cuts off.
std::string cut_stream(const http::Request& request) {
  return errors_at(request.path)
      .stream_end({503, "unavailable_error", "draining", "the server was stopped before this answer was complete"});
}

}  // namespace

struct Listener::Impl {
  Impl(ServerContext& its_context, const ListenerOptions& options)
      : context(its_context),
        keys(options.api_keys, options.api_key_file, options.tenant_secret),
        root_path(checked_root_path(options.root_path)),
        has_web_page(options.has_web_page),
        log_requests(options.log_requests),
        compilations(compile_options(options)),
        workers({.num_threads = options.num_workers,
                 .max_queued = context.limits.worker_queue_requests,
                 .max_queued_bytes = context.limits.worker_queue_bytes,
                 .niceness = options.worker_niceness,
                 .on_queued = [&metrics = *context.metrics](int change) { metrics.add_queued(change); }}) {}

  // One worker fewer than there are for requests: these have a processor left, however much is compiled.
  CompileQueue::Options compile_options(const ListenerOptions& options) const {
    const Limits& limits = context.limits;
    return {.num_threads = std::max(1, options.num_workers - 1),
            .niceness = options.worker_niceness,
            .max_queued = limits.grammar_queue_requests,
            .max_queued_bytes = limits.grammar_queue_bytes,
            .max_wait = std::chrono::seconds(limits.grammar_queue_seconds),
            .on_queued = [&metrics = *context.metrics](int change) { metrics.add_compilation_queued(change); },
            .answer =
                [&its_context = context](const ExchangePtr& exchange, const std::function<void()>& work) {
                  const http::Request& request = exchange->request();
                  run_for_route(*find_route(request.method, request.path), its_context, exchange, work);
                }};
  }

  const WebAsset* find_asset(const http::Request& request) const {
    return has_web_page && is_read(request.method) ? find_web_asset(request.path) : nullptr;
  }

  // Checks only the header, so that the server reads no body from clients without a key.
  std::optional<http::Response> admit(http::Request& request, http::Headers& reply_headers) {
    const bool is_root = !root_path.empty() && request.path == root_path;
    request.path = canonical_path(request.path, root_path);
    try {
      return admit(request, is_root, reply_headers);
    } catch (const ApiError& error) {
      return error_response(error, errors_at(request.path));
    }
  }

  std::optional<http::Response> admit(http::Request& request, bool is_root, http::Headers& reply_headers) {
    if (auto answer = origins->check(request, reply_headers)) return answer;
    const Route* const route = find_route(request.method, request.path);
    const bool is_page = find_asset(request) != nullptr || asks_for_ollama(request);
    const bool is_public = (route != nullptr && route->scope == Scope::kPublic) || is_page;
    std::optional<std::string> tenant = keys.check(request);
    if (!tenant && !is_public) throw unauthorized();
    if (tenant) request.tenant = std::move(*tenant);
    // The page's own links are relative to a folder.
    if (is_root && find_asset(request) != nullptr) return redirect(root_path + "/");
    if (route == nullptr && !is_page) return refuse_unknown(request);
    if (!http::content_coding(request.header("content-encoding"))) throw unknown_coding();
    // A small body is read, so that its connection can be kept.
    if (route != nullptr && has_large_body(request)) {
      if (const std::optional<ApiError> full = refuse_when_full(*route)) throw *full;
    }
    return std::nullopt;
  }

  static http::Response refuse_unknown(const http::Request& request) {
    const bool is_server = request.path == "*";
    const std::string allowed = is_server ? "GET, HEAD, POST, DELETE, OPTIONS" : allowed_methods(request.path);
    if (allowed.empty()) {
      throw ApiError(404, "not_found_error", "not_found",
                     "unknown path; GET /openapi.json lists the paths of this server");
    }
    http::Response response = request.method == "OPTIONS"
                                  ? http::Response{.status = 204, .content_type = "", .body = ""}
                                  : error_response(ApiError(405, "invalid_request_error", "method_not_allowed",
                                                            "method not allowed; allowed here: " + allowed),
                                                   errors_at(request.path));
    response.headers.emplace_back("Allow", allowed);
    return response;
  }

  void handle(const ExchangePtr& exchange) {
    const http::Request& request = exchange->request();
    if (asks_for_ollama(request)) {
      return exchange->reply({.content_type = "text/plain; charset=utf-8", .body = "Ollama is running"});
    }
    const Route* const route = find_route(request.method, request.path);
    if (route == nullptr) return exchange->reply(asset_response(*find_asset(request), request));
    if (route->runs == Runs::kInline) return run_route(*route, context, exchange);
    queue(*route, exchange);
  }

  // Clients take turns by key, or by address where there are no keys.
  void queue(const Route& route, const ExchangePtr& exchange) {
    if (const std::optional<ApiError> full = refuse_when_full(route)) {
      return exchange->reply(error_response(*full, route.errors));
    }
    const http::Request& request = exchange->request();
    const std::string lane = http::client_of(request);
    const auto run = [this, &route, exchange] {
      try {
        run_route(route, context, exchange);
      } catch (...) {
        exchange->post([error = std::current_exception()] { std::rethrow_exception(error); });
      }
    };
    // A small packed body may unpack to a large one.
    const bool is_packed = !request.header("content-encoding").empty();
    const uint64_t bytes = std::max<uint64_t>(request.body.size(), is_packed ? http::kLargeJobBytes : 0);
    const auto ticket = workers.submit({.lane = lane, .bytes = bytes, .run = run});
    if (!ticket) {
      const ApiError busy = workers_busy();
      context.metrics->add_rejected(busy.code());
      return exchange->reply(error_response(busy, route.errors));
    }
    exchange->on_disconnect([this, lane, ticket] { workers.drop(lane, *ticket); });
  }

  // Nothing while the engine of one model has room, since only the body says which is meant. Counts the refusal.
  std::optional<ApiError> refuse_when_full(const Route& route) const {
    std::optional<ApiError> refusal;
    if (route.runs != Runs::kEngine || context.state != ServerState::kReady) return refusal;
    for (const ServedModel& model : context.models.all()) {
      std::optional<ApiError> full = quire::refuse_when_full(*model.engine);
      if (!full) return std::nullopt;
      refusal.emplace(std::move(*full));
    }
    if (refusal) context.metrics->add_rejected(refusal->code());
    return refusal;
  }

  void finished(const http::Finished& finished) const {
    std::string_view label = "other";
    if (const Route* const route = find_route(finished.request.method, finished.request.path)) {
      label = route->pattern;
    } else if (find_asset(finished.request) != nullptr) {
      label = "web";
    }
    context.metrics->add_http(finished.request.method, label, finished.status, finished.seconds);
    constexpr int kClientGone = 499;
    if (finished.status == kClientGone) context.metrics->add_disconnect();
    log_request(log_requests, finished, label);
  }

  ServerContext& context;
  ApiKeys keys;
  std::unique_ptr<const OriginPolicy> origins;
  const std::string root_path;
  const bool has_web_page;
  const RequestLog log_requests;
  CompileQueue compilations;
  http::WorkerPool workers;  // outlives the connections, which drop their jobs
  std::unique_ptr<http::Server> server;
};

Listener::Listener(ServerContext& context, ListenerOptions options) : impl_(std::make_unique<Impl>(context, options)) {
  Impl* const impl = impl_.get();
  context.compilations = &impl->compilations;
  context.openapi = json::serialize(openapi_document(context.limits, impl->root_path));
  const bool is_local =
      !options.addresses.empty() &&
      std::all_of(options.addresses.begin(), options.addresses.end(),
                  [](const http::Address& address) { return is_loopback_name(http::lowered(address.host)); });
  impl->origins = std::make_unique<const OriginPolicy>(OriginOptions{.is_loopback = is_local,
                                                                     .allowed_hosts = std::move(options.allowed_hosts),
                                                                     .cors_origins = std::move(options.cors_origins)});
  impl->server = std::make_unique<http::Server>(http::ServerOptions{
      .addresses = std::move(options.addresses),
      .unix_path = std::move(options.unix_path),
      .certificate_file = std::move(options.certificate_file),
      .key_file = std::move(options.key_file),
      // More would take turns on a processor and wake each other.
      .num_threads = std::min(options.num_threads, available_processors()),
      .trusted_proxies = std::move(options.trusted_proxies),
      .limits = context.limits,
      .admit = [impl](http::Request& request, http::Headers& headers) { return impl->admit(request, headers); },
      .handle = [impl](const ExchangePtr& exchange) { impl->handle(exchange); },
      .refuse = refusal_response,
      .on_finished = [impl](const http::Finished& finished) { impl->finished(finished); },
      .on_connection = [impl](int change) { impl->context.metrics->add_connection(change); },
      .cut_stream = cut_stream});
}

Listener::~Listener() { impl_->context.compilations = nullptr; }

const std::vector<http::Address>& Listener::addresses() const { return impl_->server->addresses(); }
bool Listener::requires_key() const { return impl_->keys.is_required(); }
http::WorkerPool& Listener::workers() { return impl_->workers; }

std::function<void(std::function<void()>)> Listener::executor() const { return impl_->server->executor(); }

void Listener::leave() { impl_->context.state = ServerState::kLeaving; }

void Listener::drain(std::chrono::milliseconds limit) {
  impl_->context.state = ServerState::kDraining;
  impl_->server->drain(limit);
}

}  // namespace quire
