#include "server/http/connection_exchange.h"

#include <algorithm>
#include <boost/asio/post.hpp>

#include "base/check.h"
#include "base/log.h"

namespace quire::http {

void ConnectionExchange::reply(Response response) {
  if (!connection_->strand().running_in_this_thread()) {
    return post([self = shared_from_this(), response = std::move(response)] { self->reply(response); });
  }
  if (state_ == State::kLost) return;
  CHECK(state_ == State::kOpen);
  connection_->write_reply(request_, response);
  finish(State::kDone);
  connection_->finish(request_, response.status, response.body.size());
}

void ConnectionExchange::begin_stream(std::string content_type) {
  if (state_ == State::kLost) return;
  CHECK(state_ == State::kOpen);
  state_ = State::kStreaming;
  connection_->begin_stream(request_, content_type);
}

void ConnectionExchange::send(std::string data) {
  if (state_ == State::kLost || data.empty()) return;
  CHECK(state_ == State::kStreaming);
  // An endpoint that waits for on_sent never gets near this limit.
  constexpr uint64_t kRunawayFactor = 64;
  if (connection_->unsent() > kRunawayFactor * connection_->shared()->options.limits.stream_buffer_bytes) {
    log::warning("{}: the stream was closed because its client reads too slowly", request_.id);
    return connection_->disconnect();
  }
  sent_bytes_ += data.size();
  has_unreported_ = true;
  connection_->write_chunk(data);
}

void ConnectionExchange::end() {
  if (state_ == State::kLost) return;
  CHECK(state_ == State::kStreaming);
  connection_->end_stream();
  finish(State::kDone);
  connection_->finish(request_, 200, sent_bytes_);
}

void ConnectionExchange::on_sent(std::function<void()> callback) {
  if (!is_connected()) return;
  on_sent_ = callback ? std::make_shared<const std::function<void()>>(std::move(callback)) : nullptr;
}

void ConnectionExchange::on_disconnect(std::function<void()> callback) {
  if (state_ == State::kLost) return post(std::move(callback));
  if (is_connected()) on_disconnect_ = std::move(callback);
}

void ConnectionExchange::post(std::function<void()> task) {
  if (connection_->shared()->is_stopped) return;
  asio::post(connection_->strand(),
             [self = shared_from_this(), task = std::move(task)] { self->connection_->run(*self, task); });
}

void ConnectionExchange::post_after(std::chrono::milliseconds delay, std::function<void()> task) {
  if (!is_connected()) return;
  const auto timer = std::make_shared<Timer>(connection_->strand(), delay);
  timers_.push_back(timer);
  timer->async_wait([weak = weak_from_this(), timer, task = std::move(task)](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (error || !self || !self->is_connected()) return;
    std::erase(self->timers_, timer);
    self->connection_->run(*self, task);
  });
}

void ConnectionExchange::notify_sent() {
  if (!has_unreported_ || state_ != State::kStreaming) return;
  has_unreported_ = false;
  const auto callback = on_sent_;
  if (callback) (*callback)();
}

void ConnectionExchange::disconnect() {
  if (!is_connected()) return;
  const std::function<void()> callback = std::move(on_disconnect_);
  finish(State::kLost);
  try {
    if (callback) callback();
  } catch (const std::exception& error) {
    log::warning("{}: on_disconnect failed: {}", request_.id, typeid(error).name());
  }
}

void ConnectionExchange::finish(State state) {
  state_ = state;
  on_sent_ = nullptr;
  on_disconnect_ = nullptr;
  for (const auto& timer : timers_) timer->cancel();
  timers_.clear();
}

}  // namespace quire::http
