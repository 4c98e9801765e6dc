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
  if (num_waiting() == 0) return std::nullopt;
  OutputEvent event = std::move(events_[num_read_++]);
  // Those that were read leave when they are most of a long list, so that a reader who lags keeps it short.
  constexpr size_t kLong = 256;
  if (num_waiting() == 0 || (num_read_ >= kLong && num_read_ >= events_.size() / 2)) {
    events_.erase(events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(num_read_));
    num_read_ = 0;
  }
  return event;
}

std::optional<OutputEvent> OutputStream::next() {
  std::unique_lock lock(mutex_);
  ready_.wait(lock, [this] { return num_waiting() > 0 || num_open_ == 0; });
  return take();
}

std::optional<OutputEvent> OutputStream::try_next() {
  const std::lock_guard lock(mutex_);
  return take();
}

bool OutputStream::is_drained() const {
  const std::lock_guard lock(mutex_);
  return num_waiting() == 0 && num_open_ == 0;
}

size_t OutputStream::num_unread() const {
  const std::lock_guard lock(mutex_);
  return num_waiting();
}

void OutputStream::set_listener(Listener listener, size_t num_at_once) {
  std::shared_ptr<const Listener> added = listener ? std::make_shared<const Listener>(std::move(listener)) : nullptr;
  // The old listener is destroyed after the lock is released: it may own the object that owns this stream.
  std::shared_ptr<const Listener> replaced = added;
  bool has_events = false;
  {
    const std::lock_guard lock(mutex_);
    listener_.swap(replaced);
    num_at_once_ = num_at_once;
    has_events = num_waiting() > 0;
  }
  if (added != nullptr && has_events) (*added)();
}

std::shared_ptr<const OutputStream::Listener> OutputStream::put(std::span<OutputEvent> events) {
  std::shared_ptr<const Listener> listener;
  {
    const std::lock_guard lock(mutex_);
    bool has_ended = false;
    for (OutputEvent& event : events) {
      if (event.finish != FinishReason::kNone) {
        has_ended = true;
        --num_open_;
      }
      events_.push_back(std::move(event));
    }
    if (has_ended || num_waiting() >= num_at_once_) listener = listener_;
  }
  ready_.notify_all();
  return listener;
}

}  // namespace quire
