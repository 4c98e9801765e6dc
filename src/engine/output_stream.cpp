#include "engine/output_stream.h"

namespace quire {

const char* name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone: return "none";
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kCancelled: return "cancelled";
    case FinishReason::kTimeout: return "timeout";
    case FinishReason::kError: return "error";
    case FinishReason::kAborted: return "aborted";
    case FinishReason::kConstraint: return "constraint";
  }
  return "unknown";
}

std::optional<OutputEvent> OutputStream::take() {
  if (events_.empty()) return std::nullopt;
  OutputEvent event = std::move(events_.front());
  events_.pop_front();
  return event;
}

std::optional<OutputEvent> OutputStream::next() {
  std::unique_lock lock(mutex_);
  ready_.wait(lock, [this] { return !events_.empty() || num_open_ == 0; });
  return take();
}

std::optional<OutputEvent> OutputStream::try_next() {
  const std::lock_guard lock(mutex_);
  return take();
}

bool OutputStream::is_drained() const {
  const std::lock_guard lock(mutex_);
  return events_.empty() && num_open_ == 0;
}

size_t OutputStream::num_unread() const {
  const std::lock_guard lock(mutex_);
  return events_.size();
}

void OutputStream::set_listener(std::function<void()> listener) {
  // The old listener is destroyed after the lock is released: it may own the object that owns this stream.
  const std::lock_guard lock(mutex_);
  listener_.swap(listener);
  if (listener_ && !events_.empty()) listener_();
}

void OutputStream::push(std::vector<OutputEvent> events) {
  {
    // The listener is called under the lock, so that it does not run after set_listener() has removed it.
    const std::lock_guard lock(mutex_);
    for (OutputEvent& event : events) {
      if (event.finish != FinishReason::kNone) --num_open_;
      events_.push_back(std::move(event));
    }
    if (listener_) listener_();
  }
  ready_.notify_all();
}

}  // namespace quire
