// Quire's endpoints behind an HTTP server: keys, hosts and origins checked, routes looked up, everything counted.
//
// Made by `quire serve` before the model is loaded and destroyed after the engine has stopped; the context outlives it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/context.h"
#include "server/http/server.h"
#include "server/http/worker_pool.h"
#include "server/metrics/request_log.h"

namespace quire {

struct ListenerOptions {
  std::vector<http::Address> addresses;
  std::string unix_path;
  std::string certificate_file;
  std::string key_file;
  int num_threads = 2;  // of the sockets; at most one for each processor is started
  int num_workers = 2;  // for bodies, templates and tokenising
  // How far all workers but the one for small bodies give way to the threads that answer and compute, as of `nice`.
  int worker_niceness = 10;
  std::vector<std::string> api_keys;
  std::string api_key_file;
  std::string tenant_secret;  // 32 bytes by which keys become tenants; empty: new ones
  std::vector<std::string> allowed_hosts;
  std::vector<std::string> cors_origins;
  std::vector<std::string> trusted_proxies;
  std::string root_path;  // "/llm": what a proxy puts before every path; the paths work without it too
  bool has_web_page = true;
  RequestLog log_requests = RequestLog::kOff;
};

class Listener {
 public:
  // Listens from now on. Throws Error for addresses, files and options that cannot be used.
  Listener(ServerContext& context, ListenerOptions options);
  ~Listener();

  const std::vector<http::Address>& addresses() const;
  bool requires_key() const;
  http::WorkerPool& workers();
  // http::Server::executor().
  std::function<void(std::function<void()> task)> executor() const;
  // From now on /readyz answers 503, so that load balancers send no more; what still comes is served.
  void leave();
  // Sets the state to draining and returns when all requests have ended, after `limit` at the latest; see
  // http::Server::drain().
  void drain(std::chrono::milliseconds limit);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
