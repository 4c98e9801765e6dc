// Reads a server-sent event stream with the events of OpenAI-compatible servers. Gets bytes as they arrive; one object
// per answer, one thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "measure/summary.h"

namespace quire::load {

// Splits a stream into the data of its events; the bytes may arrive in any pieces.
class EventReader {
 public:
  static constexpr size_t kMaxEventBytes = size_t{4} << 20;

  // Calls on_data for each complete event that has data. False when an event is larger than the limit.
  bool push(std::string_view bytes, const std::function<void(std::string_view)>& on_data);

 private:
  std::string line_;  // incomplete
  std::string data_;
  bool has_data_ = false;
};

// Turns events of /v1/completions and /v1/chat/completions into a record.
class AnswerReader {
 public:
  explicit AnswerReader(RequestRecord& record) : record_(record) {}

  // `now_ms`: when the bytes arrived.
  void push(std::string_view bytes, double now_ms);
  // Call when the body has ended: the record's error then says what is missing, if anything.
  void finish();
  bool is_done() const { return is_done_; }  // the server said so

 private:
  void take_event(std::string_view data, double now_ms);

  RequestRecord& record_;
  EventReader events_;
  bool is_done_ = false;
  bool has_finish_reason_ = false;
};

}  // namespace quire::load
