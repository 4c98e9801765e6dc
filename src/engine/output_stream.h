// Carries a request's tokens from the engine thread to the one reader of the stream, and cancellations back.
//
// Shared by both threads. Holds at most max_tokens x num_choices events, all small. A reader either waits in next(), or
// sets a listener and reads with try_next().
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "engine/request.h"

namespace quire {

class OutputStream {
 public:
  using Listener = std::function<void()>;

  explicit OutputStream(int num_choices)
      : num_choices_(num_choices), num_open_(num_choices), cancelled_(new std::atomic<bool>[num_choices]()) {}

  // Reader. next() waits for an event; it returns nothing when every choice has finished and every event was read.
  std::optional<OutputEvent> next();
  std::optional<OutputEvent> try_next();
  // `listener` is called after each push that ends a choice or leaves at least `num_at_once` events unread, by the
  // thread that Engine::on_events() says; set_listener() itself calls it when events are waiting already. It must not
  // block, throw or take long: post to an executor. An empty listener removes the present one, which may still be
  // called for events that were pushed before.
  void set_listener(Listener listener, size_t num_at_once = 1);
  // Asks the engine to stop all choices, or one; it does so at its next step. Any thread.
  void cancel() {
    for (int choice = 0; choice < num_choices_; ++choice) cancel(choice);
  }
  void cancel(int choice) { cancelled_[choice].store(true, std::memory_order_relaxed); }
  int num_choices() const { return num_choices_; }
  bool is_cancelled(int choice) const { return cancelled_[choice].load(std::memory_order_relaxed); }
  bool is_drained() const;    // every choice has finished and every event was read
  size_t num_unread() const;  // events waiting for the reader

  // Engine. Moves all events of a step from `events`, and returns the listener if it is to be called for them, else
  // null.
  std::shared_ptr<const Listener> put(std::span<OutputEvent> events);
  // The same, and calls it.
  void push(std::vector<OutputEvent> events) {
    if (const auto listener = put(events)) (*listener)();
  }

 private:
  std::optional<OutputEvent> take();
  size_t num_waiting() const { return events_.size() - num_read_; }

  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<OutputEvent> events_;
  size_t num_read_ = 0;  // of events_
  std::shared_ptr<const Listener> listener_;
  size_t num_at_once_ = 1;
  const int num_choices_;
  int num_open_;
  const std::unique_ptr<std::atomic<bool>[]> cancelled_;
};

}  // namespace quire
