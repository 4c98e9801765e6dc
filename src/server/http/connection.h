// One client's connection: reads bytes, passes requests to the handler, writes replies, and enforces limits and
// time-outs.
//
// Only for this folder's sources, because it includes Asio. Everything runs on the connection's strand unless stated
// otherwise. Lives as long as an operation or an exchange holds it.
#pragma once

#include <atomic>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "server/http/proxies.h"
#include "server/http/request_parser.h"
#include "server/http/server.h"
#include "server/http/transport.h"

namespace quire::http {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;
using Strand = asio::strand<asio::io_context::executor_type>;
using Descriptor = asio::posix::basic_stream_descriptor<Strand>;
using Timer = asio::basic_waitable_timer<Clock, asio::wait_traits<Clock>, Strand>;

class Connection;
class ConnectionExchange;

// The bodies of one client that are arriving.
struct ClientBodies {
  std::atomic<uint64_t> receiving_bytes{0};
};

// What all connections share. Outlives the server as long as an exchange exists.
struct Shared {
  explicit Shared(ServerOptions its_options)
      : options(std::move(its_options)), proxies(options.trusted_proxies), io(options.num_threads) {}

  Response refuse(const Refusal& refusal, const Request& request) const {
    if (options.refuse) return options.refuse(refusal, request);
    return {.status = refusal.status, .content_type = "text/plain", .body = refusal.message};
  }

  // Until the last one that holds the client leaves it.
  std::shared_ptr<ClientBodies> find_client(const std::string& name);
  void leave_client(const std::string& name, std::shared_ptr<ClientBodies> client);

  const ServerOptions options;
  const Proxies proxies;
  asio::io_context io;
  std::atomic<bool> is_draining{false};
  std::atomic<uint64_t> receiving_bytes{0};  // of bodies that are arriving, of all connections
  std::atomic<bool> is_stopped{false};       // the io threads have ended: posted tasks no longer run

  std::mutex mutex;
  std::condition_variable changed;  // a connection has ended
  std::unordered_map<Connection*, std::weak_ptr<Connection>> connections;
  std::unordered_map<std::string, int> num_connections;                    // of each address that has some
  std::unordered_map<std::string, std::shared_ptr<ClientBodies>> clients;  // whose bodies are arriving
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // Takes over the socket, which must be non-blocking.
  Connection(std::shared_ptr<Shared> shared, int socket, std::unique_ptr<Transport> transport, std::string remote);
  ~Connection();

  // Any thread. start() registers with Shared, once.
  void start();
  void drain();      // without a request: ends now; otherwise after its answer
  void end_early();  // ends after writing what it can
  void abort();      // ends now

  // Called by the exchange.
  const std::shared_ptr<Shared>& shared() const { return shared_; }
  const Strand& strand() const { return strand_; }
  // Runs a task of an exchange, then settles the connection. An exception ends the answer.
  template <typename Task>
  void run(const ConnectionExchange& exchange, const Task& task);
  void write_reply(const Request& request, const Response& response);
  void begin_stream(const Request& request, std::string_view content_type);
  void write_chunk(std::string_view data);
  void end_stream();
  // The whole answer is queued.
  void finish(const Request& request, int status, uint64_t bytes);
  void disconnect();  // the client disconnected
  size_t unsent() const { return out_.size() - sent_; }

 private:
  enum class Phase : uint8_t {
    kServing,
    kClosing /* when all is written */,
    kLingering /* read to the end */,
    kClosed
  };
  struct Style {  // of the reply to the current request
    bool is_keep_alive = false;
    bool is_http_1_0 = false;
    bool is_head = false;
    bool is_last = false;  // the request is whole, and its client has said that no other follows
  };

  void post(void (Connection::*member)());
  void read();
  void read_input();
  void settle();
  void process();
  bool process_one(size_t& used);
  void wait_for_rest(bool is_empty);
  void take_header(bool has_more);
  bool count_body(uint64_t bytes);
  void dispatch();
  void fail_exchange(const ConnectionExchange& failed, const char* what);
  void refuse(int status, std::string_view code, std::string_view message);
  void write_head(const Request& request, int status, std::string_view content_type, const Headers& headers);
  void flush();
  bool watch();
  void wait_to_read();
  void wait_to_write();
  void linger();
  void end_exchange_early();
  void close();
  void expire_at(Clock::time_point deadline);
  void arm_timer(Clock::time_point when);
  void on_timer();
  const Limits& limits() const { return shared_->options.limits; }

  const std::shared_ptr<Shared> shared_;
  Strand strand_;
  const int socket_;
  Descriptor events_;  // of the socket, once something is waited for: many connections end before
  std::unique_ptr<Transport> transport_;
  const std::string remote_;
  RequestParser parser_;
  Timer timer_;

  std::string in_;                                // read, not yet parsed
  std::string out_;                               // to be written
  size_t sent_ = 0;                               // of out_
  std::shared_ptr<ConnectionExchange> exchange_;  // the one request being answered
  Headers reply_headers_;                         // of every reply to the current request
  Style style_;
  Phase phase_ = Phase::kServing;

  Clock::time_point deadline_ = Clock::time_point::max();  // for the client's next action
  Clock::time_point armed_ = Clock::time_point::max();     // when the timer expires
  Clock::time_point stall_begin_;                          // while is_writing_: since then stall_bytes_ were written
  uint64_t stall_bytes_ = 0;
  std::string client_name_;               // of the body that is arriving, once some of it is counted
  std::shared_ptr<ClientBodies> client_;  // the same
  uint64_t counted_bytes_ = 0;            // of that body, in both receiving_bytes
  uint64_t lingered_bytes_ = 0;
  int depth_ = 0;            // of run() and settle()
  bool is_reading_ = false;  // a wait is pending
  bool is_writing_ = false;
  bool is_behind_ = false;       // the client has not read all that was written
  bool has_more_input_ = false;  // in the socket, because in_ is full
  bool is_at_end_ = false;       // the client has closed its sending side
  bool is_broken_ = false;
  bool is_partial_ = false;  // part of a request has arrived
  bool is_chunked_ = false;  // the stream being written
  bool is_counted_ = false;  // among the connections of its address
};

template <typename Task>
void Connection::run(const ConnectionExchange& exchange, const Task& task) {
  const auto self = shared_from_this();
  ++depth_;
  try {
    task();
  } catch (const std::exception& error) {
    fail_exchange(exchange, typeid(error).name());
  } catch (...) {
    fail_exchange(exchange, "unknown");
  }
  --depth_;
  settle();
}

}  // namespace quire::http
