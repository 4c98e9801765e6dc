// One HTTP request and its reply, as endpoints see them: no sockets and no library types, so that endpoints are tested
// with a fake exchange and the HTTP library stays in this folder.
//
// Made by the connection, held by the code that will answer. Members are called on the exchange's executor, where
// handlers start, unless they say otherwise; other threads use post(). A connection has one exchange at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quire::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

constexpr std::string_view kUnixPeer = "unix";  // the remote of every request that comes by a Unix socket

struct Request {
  std::string method;  // "POST"
  std::string path;    // decoded, without the query
  std::string query;   // after '?', raw
  Headers headers;     // names in lower case
  std::string body;
  std::string id;      // the client's x-request-id if it is well formed, otherwise a new one; in every reply
  std::string remote;  // address of the peer, or kUnixPeer
  std::string client;  // whose request it is: remote, or what a proxy says that is trusted
  std::string tenant;  // identity of the API key (a keyed digest of it), empty without keys
  std::chrono::steady_clock::time_point received;

  // The value of a header by its lower-case name; empty when absent.
  std::string_view header(std::string_view name) const;
  // The decoded value of a parameter of the query; empty when absent or badly written.
  std::string parameter(std::string_view name) const;
};

// Who takes turns with others: a key, or an address where there are no keys.
const std::string& client_of(const Request& request);

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  Headers headers = {};  // further ones

  // The value of a further header by its name as it is written here; empty when absent.
  std::string_view header(std::string_view name) const;
};

class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const Request& request() const = 0;  // any thread
  // Sends the whole answer; called once, by any thread.
  virtual void reply(Response response) = 0;
  // Or a stream: begin() once (its headers are sent at once), any number of send(), end() once. Data is queued and
  // written in order; when unsent_bytes() grows, an endpoint waits for on_sent before it sends more.
  virtual void begin_stream(std::string content_type) = 0;
  virtual void send(std::string data) = 0;
  virtual void end() = 0;
  virtual size_t unsent_bytes() const = 0;
  // Called whenever the queue has become empty; replaces the previous callback.
  virtual void on_sent(std::function<void()> callback) = 0;
  // Called once when the client disconnected, or stalled beyond the limit, before the answer was complete; also if that
  // has happened already. Afterwards nothing that is sent arrives. Both callbacks are dropped when the answer is
  // complete.
  virtual void on_disconnect(std::function<void()> callback) = 0;
  virtual bool is_connected() const = 0;
  // Runs `task` on the exchange's executor, soon. Any thread.
  virtual void post(std::function<void()> task) = 0;
  // Runs `task` there after a delay, unless the exchange has ended.
  virtual void post_after(std::chrono::milliseconds delay, std::function<void()> task) = 0;
};

}  // namespace quire::http

namespace quire {

using ExchangePtr = std::shared_ptr<http::Exchange>;

}  // namespace quire
