#include "measure/event_stream.h"

#include "base/error.h"

namespace quire::load {
namespace {

const json::object* object_at(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr ? value->if_object() : nullptr;
}

bool has_text(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() && !value->get_string().empty();
}

void take_count(const json::object& object, const char* key, int64_t& count) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return;
  boost::system::error_code error;
  const auto number = value->to_number<int64_t>(error);
  if (!error && number >= 0) count = number;
}

bool has_text(const json::object& choice) {
  if (has_text(choice, "text")) return true;
  const json::object* delta = object_at(choice, "delta");
  if (delta == nullptr) return false;
  for (const char* key : {"content", "reasoning", "reasoning_content"}) {
    if (has_text(*delta, key)) return true;
  }
  const json::value* calls = delta->if_contains("tool_calls");
  return calls != nullptr && calls->is_array();
}

void take_usage(const json::object& event, RequestRecord& record) {
  if (const json::object* usage = object_at(event, "usage")) {
    take_count(*usage, "prompt_tokens", record.prompt_tokens);
    take_count(*usage, "completion_tokens", record.completion_tokens);
    if (const json::object* details = object_at(*usage, "prompt_tokens_details")) {
      take_count(*details, "cached_tokens", record.cached_tokens);
    }
  }
  // llama-server reports them here.
  if (const json::object* timings = object_at(event, "timings")) take_count(*timings, "cache_n", record.cached_tokens);
}

}  // namespace

bool EventReader::push(std::string_view bytes, const std::function<void(std::string_view)>& on_data) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    line_ += bytes.substr(0, end);
    if (line_.size() + data_.size() > kMaxEventBytes) return false;
    if (end == std::string_view::npos) return true;
    bytes.remove_prefix(end + 1);
    if (line_.ends_with('\r')) line_.pop_back();
    std::string_view line = line_;
    if (line.empty()) {
      if (has_data_) on_data(data_);
      data_.clear();
      has_data_ = false;
    } else if (line.starts_with("data:")) {
      line.remove_prefix(line.starts_with("data: ") ? 6 : 5);
      if (has_data_) data_ += '\n';
      data_ += line;
      has_data_ = true;
    }
    line_.clear();
  }
  return true;
}

void AnswerReader::push(std::string_view bytes, double now_ms) {
  const bool fits = events_.push(bytes, [&](std::string_view data) { take_event(data, now_ms); });
  if (!fits && record_.ok()) record_.error = "event too large";
}

void AnswerReader::take_event(std::string_view data, double now_ms) {
  if (data == "[DONE]") {
    is_done_ = true;
    return;
  }
  boost::system::error_code error;
  const json::value value = json::parse({data.data(), data.size()}, error);
  const json::object* event = error ? nullptr : value.if_object();
  if (event == nullptr) {
    if (record_.ok()) record_.error = "bad event";
    record_.error_detail = printable(data, 200);
    return;
  }
  if (const json::value* failure = event->if_contains("error"); failure != nullptr && !failure->is_null()) {
    if (record_.ok()) record_.error = "error in the stream";
    record_.error_detail = printable(json::serialize(*failure), 300);
    return;
  }
  take_usage(*event, record_);
  const json::value* choices = event->if_contains("choices");
  if (choices == nullptr || !choices->is_array() || choices->get_array().empty()) return;
  const json::object* choice = choices->get_array().front().if_object();
  if (choice == nullptr) return;
  if (has_text(*choice)) record_.token_ms.push_back(now_ms);
  has_finish_reason_ |= has_text(*choice, "finish_reason");
}

void AnswerReader::finish() {
  if (!record_.ok()) return;
  if (!is_done_ && !has_finish_reason_) {
    record_.error = "stream cut off";
  } else if (record_.token_ms.empty()) {
    record_.error = "no text";
  }
}

}  // namespace quire::load
