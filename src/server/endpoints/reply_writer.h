// Writes the pieces of an answer: into an event stream as they arrive, or into one reply at the end.
//
// One object per request, used on the exchange's executor.
#pragma once

#include <memory>
#include <string>

#include "server/api_error.h"
#include "server/endpoints/endpoints.h"
#include "server/endpoints/reply_format.h"

namespace quire {

// What the reader of the streams and the writer both need to know about an answer.
struct ReplyState {
  std::unique_ptr<ReplyFormat> format;
  std::string id;
  std::string model;
  std::string fingerprint;
  int64_t created = 0;  // Unix time
  bool is_stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool is_truncated = false;
  int num_choices = 0;  // of all prompts
  // JSON, each with a comma before it: members about the prompt of each choice.
  std::vector<std::string> prompt_members;

  UsageCounts usage;
  std::string timings;  // JSON object, empty when not asked for
};

class ReplyWriter {
 public:
  virtual ~ReplyWriter() = default;
  virtual void piece(int index, TextPiece piece) = 0;
  // `rest`: tokens without text. `is_last`: every other choice has ended.
  virtual void end_choice(int index, TextPiece rest, ChoiceEnd end, bool is_last) = 0;
  virtual void flush() {}  // sends what was written since the last call
  virtual void done() = 0;
  virtual void fail(const ApiError& error) = 0;
  virtual bool has_room() const { return true; }
};

// The stream begins at once. `buffer_bytes`: with more unsent bytes, has_room() is false.
std::shared_ptr<ReplyWriter> make_stream_writer(ExchangePtr exchange, const ReplyState& state, uint64_t buffer_bytes);
std::shared_ptr<ReplyWriter> make_whole_writer(ExchangePtr exchange, const ReplyState& state);

}  // namespace quire
