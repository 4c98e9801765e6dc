// An HTTP/1.1 server: listens, reads requests, passes each one to a handler as an Exchange. Knows no routes and no
// model.
//
// Made and destroyed by one thread. Handlers run on its io threads, those of one connection never at the same time. An
// Exchange may outlive the server, but then its replies go nowhere.
//
// A client that closes its side of the connection counts as disconnected at once: an immediate answer still reaches it,
// an answer that takes longer is cancelled (on_disconnect). An abandoned request and a half-closed one look the same
// from here, and the first is the usual case.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/http/exchange.h"
#include "server/limits.h"

namespace quire::http {

struct Address {
  std::string host;   // a name or a literal address
  uint16_t port = 0;  // 0: any that is free
};

// A request that has ended, answered or not.
struct Finished {
  const Request& request;
  int status = 0;      // 499: the client left before its answer was complete
  uint64_t bytes = 0;  // of the reply's body
  double seconds = 0;  // from the end of the request to the last byte of its reply in the socket's queue
};

// What this layer refuses by itself. How an error looks is the interface's matter: see ServerOptions::refuse.
struct Refusal {
  int status = 0;
  std::string_view code;  // "draining"
  std::string message;    // the server's own words
};

struct ServerOptions {
  std::vector<Address> addresses;
  std::string unix_path;         // of a Unix socket; empty: none
  std::string certificate_file;  // with key_file: TLS on every TCP address
  std::string key_file;
  int num_threads = 2;
  std::vector<std::string> trusted_proxies = {};  // addresses; X-Forwarded-For of their requests names the client
  Limits limits;

  // Called when a request's header has arrived, before its body: a returned reply refuses the request. May fill in the
  // request's tenant and add header fields for every reply to it.
  std::function<std::optional<Response>(Request& request, Headers& reply_headers)> admit;
  std::function<void(const std::shared_ptr<Exchange>&)> handle;
  // The reply to a request that is refused here; an empty request where none has been read. Without it the message is
  // sent as plain text. Any io thread.
  std::function<Response(const Refusal&, const Request&)> refuse = {};
  std::function<void(const Finished&)> on_finished = {};  // any io thread
  std::function<void(int change)> on_connection = {};     // any io thread: +1 opened, -1 closed
  // The last bytes of a stream that the drain's time limit cuts off; without any, its connection is closed. Any io
  // thread.
  std::function<std::string(const Request&)> cut_stream = {};
};

class Server {
 public:
  // Binds everything and starts; throws Error naming the address, what is wrong and which process uses it.
  explicit Server(ServerOptions options);
  // Stops at once.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Of each TCP address, as bound.
  const std::vector<Address>& addresses() const;
  // Runs tasks on an io thread, soon. Any thread, also when the server has gone: then without effect.
  std::function<void(std::function<void()> task)> executor() const;
  // Stops accepting, closes idle connections, lets running requests finish, and returns when all have ended. Requests
  // that still run after `limit` are cut: a stream gets the bytes of cut_stream and ends, a request without an answer
  // gets a 503; on_disconnect tells the endpoint.
  void drain(std::chrono::milliseconds limit);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire::http
