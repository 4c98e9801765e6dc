// The engine's output streams of one HTTP request, read on the exchange's executor.
//
// A list of prompts enters the engine as far as its queue has room, at least with its first; each of the others follows
// when one before it has ended, and the queue does not refuse it. More choices than run at once come in waves, of which
// the later ones find the prompt in the cache.
//
// Kept alive by the streams' listeners until everything was read, the reader ended it or the client disconnected. Every
// member is called on the exchange's executor, the constructor by any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/engine.h"
#include "engine/output_stream.h"
#include "server/api_error.h"
#include "server/http/exchange.h"

namespace quire {

// An exception of a member ends the group, and the connection answers 500.
class StreamReader {
 public:
  virtual ~StreamReader() = default;
  // False: no event is read until the exchange has sent its data.
  virtual bool has_room() const { return true; }
  // How many events of a prompt may wait for each other while none of its choices ends. Constant. A reader that shows
  // nothing before the end wakes its thread less often by a large number; a small one bounds how long it then reads.
  virtual size_t num_at_once() const { return 1; }
  virtual void on_event(size_t prompt_index, OutputEvent event) = 0;
  // After a batch of events; `is_complete` once every choice of every prompt has finished.
  virtual void on_pause(bool is_complete) = 0;
  // The engine takes no more of the list, since it has stopped. The reader answers and stops the group.
  virtual void on_refused(const ApiError& error) = 0;
  // The client disconnected; nothing more is called.
  virtual void on_gone() = 0;
};

// The 429 of a full queue, or the 503 of a stopped engine; asked before any work on a request. Any thread.
std::optional<ApiError> refuse_when_full(Engine& engine);
// Throws it.
void require_room(Engine& engine);

class StreamGroup : public std::enable_shared_from_this<StreamGroup> {
 public:
  // Admits requests[i] for prompt i. Throws ApiError, and then nothing was admitted: 429 when the queue is full, 503
  // when the engine has stopped, 400 for requests that can never run.
  StreamGroup(ExchangePtr exchange, Engine& engine, std::vector<GenerateRequest> requests);
  // Reads streams that are filled elsewhere: streams[i] is of prompt i.
  StreamGroup(ExchangePtr exchange, std::vector<std::shared_ptr<OutputStream>> streams);
  ~StreamGroup();  // cancels the requests: nothing reads their streams any more

  // Starts reading: the group owns the reader and calls it.
  void start(std::unique_ptr<StreamReader> reader);
  // One choice's text has ended before its tokens; its finishing event still comes.
  void cancel(size_t prompt_index, int choice);
  // Ends all requests: the engine stops at its next step, and the reader is not called again.
  void stop();
  // The reader calls this when the exchange has room again.
  void pump();

 private:
  // A request to the engine: all choices of a prompt, or a wave of them.
  struct Part {
    size_t prompt = 0;
    int first_choice = 0;
    int num_choices = 1;
    int64_t num_tokens = 0;                          // of its prompt
    std::shared_ptr<OutputStream> stream = nullptr;  // null: it waits
    bool is_done = false;
  };
  // Of parts in the engine.
  struct Load {
    size_t num_parts = 0;
    int64_t num_tokens = 0;  // of their prompts
  };

  void add_parts(size_t prompt, int most_choices);
  GenerateRequest request_of(const Part& part) const;
  Submission submit(Part& part, GenerateRequest request, Entry entry);
  void admit_first();
  void admit_next();
  void read_all();
  void read(Part& part);
  bool is_complete() const { return num_submitted_ == parts_.size() && load_.num_parts == 0; }
  void listen(Part& part);
  void schedule();
  void on_gone();

  ExchangePtr exchange_;
  Engine* const engine_ = nullptr;  // null: the streams are filled elsewhere
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::vector<GenerateRequest> requests_;  // of each prompt, all choices; empty when its last part has been submitted
  std::vector<Part> parts_;
  size_t num_submitted_ = 0;  // of parts_, from the first on
  Load load_;                 // now
  Load most_;                 // what the engine admitted at the beginning
  std::unique_ptr<StreamReader> reader_;
  std::atomic<bool> is_scheduled_{false};  // at most one pump() is queued
  bool is_stopped_ = false;
};

}  // namespace quire
