#include "server/batches/job_exchange.h"

#include <algorithm>
#include <exception>
#include <vector>

#include "base/log.h"

namespace quire {

void TaskQueue::post_at(Clock::time_point time, std::function<void()> task) {
  const std::lock_guard lock(mutex_);
  if (is_closed_) return;
  tasks_.emplace(time, std::move(task));
  added_.notify_all();
}

void TaskQueue::run(Clock::time_point until) {
  std::vector<std::function<void()>> due;
  {
    std::unique_lock lock(mutex_);
    const auto next = [&] { return tasks_.empty() ? until : std::min(until, tasks_.begin()->first); };
    while (next() > Clock::now()) added_.wait_until(lock, next());
    const auto end = tasks_.upper_bound(Clock::now());
    for (auto task = tasks_.begin(); task != end; ++task) due.push_back(std::move(task->second));
    tasks_.erase(tasks_.begin(), end);
  }
  for (const auto& task : due) task();
}

void TaskQueue::close() {
  std::multimap<Clock::time_point, std::function<void()>> dropped;  // their ends may post more
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    dropped.swap(tasks_);
  }
}

void JobExchange::reply(http::Response response) {
  queue_->post([self = shared_from_this(), response = std::move(response)]() mutable {
    if (self->is_done_ || self->is_abandoned_) return;
    self->is_done_ = true;
    self->on_disconnect_ = nullptr;
    self->on_reply_(std::move(response));
  });
}

void JobExchange::begin_stream(std::string content_type) { stream_.content_type = std::move(content_type); }
void JobExchange::send(std::string data) { stream_.body += data; }
void JobExchange::end() { reply(std::move(stream_)); }

void JobExchange::on_disconnect(std::function<void()> callback) {
  if (is_abandoned_) return post(std::move(callback));
  if (!is_done_) on_disconnect_ = std::move(callback);
}

void JobExchange::post(std::function<void()> task) {
  queue_->post([self = shared_from_this(), task = std::move(task)] {
    try {
      task();
    } catch (const std::exception& error) {
      log::warning("request {} failed: {}", self->request_.id, error.what());
      self->reply({.status = 500,
                   .body = R"({"error":{"message":"the server failed to answer this request","type":"server_error",)"
                           R"("param":null,"code":"internal_error"}})"});
    }
  });
}

void JobExchange::post_after(std::chrono::milliseconds delay, std::function<void()> task) {
  queue_->post_at(TaskQueue::Clock::now() + delay, [weak = weak_from_this(), task = std::move(task)] {
    const auto self = weak.lock();
    if (self != nullptr && !self->is_done_ && !self->is_abandoned_) task();
  });
}

void JobExchange::abandon() {
  if (is_done_ || is_abandoned_) return;
  is_abandoned_ = true;
  if (const auto callback = std::move(on_disconnect_)) callback();
}

}  // namespace quire
