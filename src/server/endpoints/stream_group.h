// The engine's output streams of one HTTP request (one for each prompt), read on the exchange's executor.
//
// Kept alive by the streams' listeners until everything was read, the reader ended it or the client disconnected. Every
// member is called on the exchange's executor, submit() by any thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/output_stream.h"
#include "server/api_error.h"
#include "server/endpoints/endpoints.h"

namespace quire {

class StreamReader {
 public:
  virtual ~StreamReader() = default;
  // False: no event is read until the exchange has sent its data.
  virtual bool has_room() const { return true; }
  virtual void on_event(size_t prompt_index, OutputEvent event) = 0;
  // After a batch of events; `is_complete` once every choice of every prompt has finished.
  virtual void on_pause(bool is_complete) = 0;
  // The client disconnected; nothing more is called.
  virtual void on_gone() = 0;
};

// The 429 of a full queue, or the 503 of a stopped engine; asked before any work on a request. Any thread.
std::optional<ApiError> refuse_when_full(Engine& engine);
// Throws it.
void require_room(Engine& engine);

class StreamGroup : public std::enable_shared_from_this<StreamGroup> {
 public:
  StreamGroup(ExchangePtr exchange, std::vector<std::shared_ptr<OutputStream>> streams)
      : exchange_(std::move(exchange)), streams_(std::move(streams)) {}

  ~StreamGroup();  // cancels the requests: nothing reads their streams any more

  // All requests or none. Throws ApiError: 429 when the queue is full, 503 when the engine has stopped, 400 for
  // requests that can never run.
  static std::vector<std::shared_ptr<OutputStream>> submit(Engine& engine, std::vector<GenerateRequest> requests);

  // Starts reading: the group owns the reader and calls it.
  void start(std::unique_ptr<StreamReader> reader);
  // One choice's text has ended before its tokens; its finishing event still comes.
  void cancel(size_t prompt_index, int choice) { streams_[prompt_index]->cancel(choice); }
  // Ends all requests: the engine stops at its next step, and the reader is not called again.
  void stop();
  // The reader calls this when the exchange has room again.
  void pump();

 private:
  void schedule();
  void on_gone();

  ExchangePtr exchange_;
  std::vector<std::shared_ptr<OutputStream>> streams_;
  std::unique_ptr<StreamReader> reader_;
  std::atomic<bool> is_scheduled_{false};  // at most one pump() is queued
  bool is_stopped_ = false;
};

}  // namespace quire
