// One HTTP request and its reply, as endpoints see them: no sockets, no library types, so that an endpoint is tested
// with a fake exchange and the HTTP library stays in this folder.
//
// Made by the connection, held by the code that still has to answer. Every member is called on the exchange's own
// executor (handlers are started there); other threads get there with post(). A connection has one exchange at a time.
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

struct Request {
  std::string method;  // "POST"
  std::string path;    // decoded, without the query
  std::string query;   // after '?', raw
  Headers headers;     // names in lower case
  std::string body;
  std::string id;      // x-request-id of the client when it is well formed, otherwise made here; in every reply
  std::string remote;  // address of the peer
  std::string tenant;  // identity of the API key (a keyed digest of it), empty without keys
  std::chrono::steady_clock::time_point received;

  // The value of a header by its lower-case name; empty when absent.
  std::string_view header(std::string_view name) const;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  Headers headers = {};  // further ones
};

class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const Request& request() const = 0;
  // The whole answer, once.
  virtual void reply(Response response) = 0;
  // Or a stream: begin once (its headers leave at once), any number of send(), end() once. What is sent is queued and
  // written in order; an endpoint that sees unsent_bytes() grow waits for on_sent before it sends more.
  virtual void begin_stream(std::string content_type) = 0;
  virtual void send(std::string data) = 0;
  virtual void end() = 0;
  virtual size_t unsent_bytes() const = 0;
  // Called whenever the queue has become empty; replaces the one before.
  virtual void on_sent(std::function<void()> callback) = 0;
  // Called once when the client has gone or stalled beyond the limit before the answer was complete, also when that
  // happened already. After it nothing that is sent arrives. Both callbacks are dropped when the answer is complete.
  virtual void on_disconnect(std::function<void()> callback) = 0;
  virtual bool is_connected() const = 0;
  // Runs `task` on the exchange's executor, soon. Any thread.
  virtual void post(std::function<void()> task) = 0;
  // Runs `task` there after a delay, unless the exchange has ended.
  virtual void post_after(std::chrono::milliseconds delay, std::function<void()> task) = 0;
};

}  // namespace quire::http
