// The Exchange of a connection. Owned by the connection until answered, and by the endpoint as long as it likes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/http/connection.h"

namespace quire::http {

class ConnectionExchange final : public Exchange, public std::enable_shared_from_this<ConnectionExchange> {
 public:
  ConnectionExchange(std::shared_ptr<Connection> connection, Request request)
      : connection_(std::move(connection)), request_(std::move(request)) {}

  const Request& request() const override { return request_; }
  void reply(Response response) override;
  void begin_stream(std::string content_type) override;
  void send(std::string data) override;
  void end() override;
  size_t unsent_bytes() const override { return connection_->unsent(); }
  void on_sent(std::function<void()> callback) override;
  void on_disconnect(std::function<void()> callback) override;
  bool is_connected() const override { return state_ == State::kOpen || state_ == State::kStreaming; }
  void post(std::function<void()> task) override;
  void post_after(std::chrono::milliseconds delay, std::function<void()> task) override;

  // Called by the connection.
  bool is_streaming() const { return state_ == State::kStreaming; }
  uint64_t sent_bytes() const { return sent_bytes_; }
  void notify_sent();
  void disconnect();  // the client disconnected, or this side gives up

 private:
  enum class State : uint8_t { kOpen, kStreaming, kDone, kLost };
  void finish(State state);

  const std::shared_ptr<Connection> connection_;
  const Request request_;
  State state_ = State::kOpen;
  bool has_unreported_ = false;  // something was sent since on_sent was last told
  uint64_t sent_bytes_ = 0;
  std::shared_ptr<const std::function<void()>> on_sent_;  // shared: it may replace itself while it runs
  std::function<void()> on_disconnect_;
  std::vector<std::shared_ptr<Timer>> timers_;
};

}  // namespace quire::http
