// An exchange without a connection: a line of a batch is answered by the handler that answers clients.
//
// Made and used on the thread of its TaskQueue, but for reply() and post().
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "server/http/exchange.h"

namespace quire {

// Tasks of one thread, which runs them in turn. Any thread may add some.
class TaskQueue {
 public:
  using Clock = std::chrono::steady_clock;

  void post(std::function<void()> task) { post_at(Clock::time_point(), std::move(task)); }
  void post_at(Clock::time_point time, std::function<void()> task);
  // Runs what is due; first waits until something is, `until` at the latest.
  void run(Clock::time_point until);
  // Forgets all tasks, and those that come: they hold exchanges, which hold the queue.
  void close();

 private:
  std::mutex mutex_;
  std::condition_variable added_;
  std::multimap<Clock::time_point, std::function<void()>> tasks_;
  bool is_closed_ = false;
};

class JobExchange : public http::Exchange, public std::enable_shared_from_this<JobExchange> {
 public:
  // `on_reply` is called once, as a task of the queue, unless the job was abandoned. The queue must outlive all posts.
  JobExchange(std::shared_ptr<TaskQueue> queue, http::Request request,
              std::function<void(http::Response response)> on_reply)
      : queue_(std::move(queue)), request_(std::move(request)), on_reply_(std::move(on_reply)) {}

  const http::Request& request() const override { return request_; }
  void reply(http::Response response) override;
  // A stream is collected: the whole of it is the reply.
  void begin_stream(std::string content_type) override;
  void send(std::string data) override;
  void end() override;
  size_t unsent_bytes() const override { return 0; }
  void on_sent(std::function<void()>) override {}  // nothing ever waits
  void on_disconnect(std::function<void()> callback) override;
  bool is_connected() const override { return !is_abandoned_; }
  void post(std::function<void()> task) override;
  void post_after(std::chrono::milliseconds delay, std::function<void()> task) override;

  // As if the client had gone.
  void abandon();

 private:
  const std::shared_ptr<TaskQueue> queue_;
  const http::Request request_;
  std::function<void(http::Response response)> on_reply_;
  http::Response stream_;
  std::function<void()> on_disconnect_;
  bool is_done_ = false;
  bool is_abandoned_ = false;
};

}  // namespace quire
