// An HTTP/1.1 server: listens, reads requests, hands each one as an Exchange to a handler. Knows no route and no model.
//
// Made and destroyed by one thread. Handlers run on its io threads, those of one connection never at the same time. An
// Exchange may outlive the server, but then it reaches nobody.
//
// A client that ends its side of the connection counts as gone as soon as that is seen: what answers at once still
// reaches it, an answer that takes longer is cancelled (on_disconnect). An abandoned request and a half-closed one look
// the same from here, and the former is the common one.
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

// One request that has been answered, or not.
struct Finished {
  const Request& request;
  int status = 0;      // 499: the client left before its answer was complete
  uint64_t bytes = 0;  // of the reply's body
  double seconds = 0;  // from the whole request to its last byte handed to the socket's queue
};

struct ServerOptions {
  std::vector<Address> addresses;
  std::string unix_path;         // of a Unix socket; empty: none
  std::string certificate_file;  // with key_file: TLS on every TCP address
  std::string key_file;
  int num_threads = 2;
  Limits limits;

  // Sees a request when its header is there, before its body: an answer refuses it. May fill in the request's tenant
  // and add header fields that every reply to it carries.
  std::function<std::optional<Response>(Request& request, Headers& reply_headers)> admit;
  std::function<void(const std::shared_ptr<Exchange>&)> handle;
  std::function<void(const Finished&)> on_finished = {};  // any io thread
  std::function<void(int change)> on_connection = {};     // any io thread: +1 opened, -1 closed
  // Ends an event stream that the drain's time limit cuts off.
  std::string cut_event = {};
};

class Server {
 public:
  // Binds everything and starts; throws Error naming the address, what is wrong and who holds it.
  explicit Server(ServerOptions options);
  // Stops at once.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Of each TCP address, as bound.
  const std::vector<Address>& addresses() const;
  // Accepts no more, ends idle connections, lets what runs finish, and returns when all have ended. Those that run when
  // `limit` has passed are cut: an event stream gets cut_event and its end, a request without an answer a 503; the
  // endpoint learns of it by on_disconnect.
  void drain(std::chrono::milliseconds limit);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire::http
