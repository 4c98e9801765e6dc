// The way of a request's tokens from the engine thread to the one thread that reads them, and of cancellation back.
//
// Shared by both. Holds at most max_tokens x choices events, all small; the reader turns tokens to text
// (text_stream.h).
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "engine/request.h"

namespace quire {

class OutputStream {
 public:
  explicit OutputStream(int num_choices)
      : num_choices_(num_choices), num_open_(num_choices), cancelled_(new std::atomic<bool>[num_choices]()) {}

  // Reader. next() waits for an event and gives nothing once every choice has finished and all was read.
  std::optional<OutputEvent> next();
  std::optional<OutputEvent> try_next();
  // Asks the engine to stop all choices, or one; takes effect at its next step. Any thread.
  void cancel() {
    for (int choice = 0; choice < num_choices_; ++choice) cancel(choice);
  }
  void cancel(int choice) { cancelled_[choice].store(true, std::memory_order_relaxed); }
  bool is_cancelled(int choice) const { return cancelled_[choice].load(std::memory_order_relaxed); }
  bool is_drained() const;  // finished and read to the end

  // Engine.
  void push(OutputEvent event);

 private:
  std::optional<OutputEvent> take();

  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<OutputEvent> events_;
  const int num_choices_;
  int num_open_;
  const std::unique_ptr<std::atomic<bool>[]> cancelled_;
};

}  // namespace quire
