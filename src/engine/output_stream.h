// Carries a request's tokens from the engine thread to the one reader of the stream, and cancellations back.
//
// Shared by both threads. Holds at most max_tokens x num_choices events, all small. A reader either waits in next(), or
// sets a listener and reads with try_next().
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/request.h"

namespace quire {

class OutputStream {
 public:
  explicit OutputStream(int num_choices)
      : num_choices_(num_choices), num_open_(num_choices), cancelled_(new std::atomic<bool>[num_choices]()) {}

  // Reader. next() waits for an event; it returns nothing when every choice has finished and every event was read.
  std::optional<OutputEvent> next();
  std::optional<OutputEvent> try_next();
  // The engine thread calls `listener` after each push; set_listener() itself calls it when events are waiting already.
  // It must not block, throw or take long: post to an executor. An empty listener removes the present one, which is not
  // called any more after set_listener() has returned.
  void set_listener(std::function<void()> listener);
  // Asks the engine to stop all choices, or one; it does so at its next step. Any thread.
  void cancel() {
    for (int choice = 0; choice < num_choices_; ++choice) cancel(choice);
  }
  void cancel(int choice) { cancelled_[choice].store(true, std::memory_order_relaxed); }
  int num_choices() const { return num_choices_; }
  bool is_cancelled(int choice) const { return cancelled_[choice].load(std::memory_order_relaxed); }
  bool is_drained() const;    // every choice has finished and every event was read
  size_t num_unread() const;  // events waiting for the reader

  // Engine. Takes all events of a step and calls the listener once.
  void push(std::vector<OutputEvent> events);

 private:
  std::optional<OutputEvent> take();

  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<OutputEvent> events_;
  std::function<void()> listener_;
  const int num_choices_;
  int num_open_;
  const std::unique_ptr<std::atomic<bool>[]> cancelled_;
};

}  // namespace quire
