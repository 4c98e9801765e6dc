#include "server/answers/stream_group.h"

#include <algorithm>

#include "server/answers/answer_errors.h"

namespace quire {

namespace {

ApiError refusal_of(const Submission& refused) {
  if (refused.refusal == Refusal::kStopped) {
    return {
        503, "unavailable_error",   "engine_stopped", "the model cannot be run any more; the server must be restarted",
        "",  refused.retry_after_ms};
  }
  const bool is_tokens = refused.refusal == Refusal::kQueueTokens;
  return {429,
          "rate_limit_error",
          "queue_full",
          fmt::format("the server's queue is full ({}); try again in {:.0f} ms",
                      is_tokens ? "prompt tokens" : "requests", refused.retry_after_ms),
          "",
          std::max(1.0, refused.retry_after_ms)};
}

}  // namespace

std::optional<ApiError> refuse_when_full(Engine& engine) {
  const std::optional<Submission> refused = engine.refuse_when_full();
  return refused ? std::optional(refusal_of(*refused)) : std::nullopt;
}

void require_room(Engine& engine) {
  if (const std::optional<ApiError> full = refuse_when_full(engine)) throw *full;
}

StreamGroup::StreamGroup(ExchangePtr exchange, Engine& engine, std::vector<GenerateRequest> requests)
    : exchange_(std::move(exchange)), engine_(&engine) {
  const auto most_choices = static_cast<int>(engine.runner().options().max_sequences);
  for (size_t i = 0; i < requests.size(); ++i) add_parts(i, std::move(requests[i]), most_choices);
  admit_first();
}

StreamGroup::StreamGroup(ExchangePtr exchange, std::vector<std::shared_ptr<OutputStream>> streams)
    : exchange_(std::move(exchange)), num_submitted_(streams.size()), load_{.num_parts = streams.size()} {
  for (size_t i = 0; i < streams.size(); ++i) parts_.push_back({.prompt = i, .stream = std::move(streams[i])});
}

StreamGroup::~StreamGroup() {
  for (const Part& part : parts_) {
    if (part.stream != nullptr && !part.is_done) part.stream->cancel();
  }
}

void StreamGroup::add_parts(size_t prompt, GenerateRequest request, int most_choices) {
  const int num_choices = request.num_choices;
  for (int first = 0; first < num_choices; first += most_choices) {
    Part part{.prompt = prompt,
              .first_choice = first,
              .num_tokens = static_cast<int64_t>(request.prompt.size()),
              .request = request};
    part.request.first_choice = first;
    part.request.num_choices = std::min(most_choices, num_choices - first);
    if (first > 0) part.request.num_prompt_logprobs = -1;  // the first wave brings them
    parts_.push_back(std::move(part));
  }
}

Submission StreamGroup::submit(Part& part, Entry entry) {
  Submission submission = engine_->submit(std::move(part.request), entry);
  if (submission.stream == nullptr) return submission;
  part.stream = submission.stream;
  ++num_submitted_;
  ++load_.num_parts;
  load_.num_tokens += part.num_tokens;
  return submission;
}

void StreamGroup::admit_first() {
  try {
    for (const Part& part : parts_) engine_->validate(part.request);
    for (Part& part : parts_) {
      const bool is_first = num_submitted_ == 0;
      // A refused request is gone: what may have to wait is tried as a copy.
      GenerateRequest kept = is_first ? GenerateRequest() : part.request;
      const Submission submission = submit(part, is_first ? Entry::kNew : Entry::kMoreOfList);
      if (submission.stream != nullptr) continue;
      if (is_first) throw refusal_of(submission);
      part.request = std::move(kept);
      break;
    }
  } catch (const Error& error) {
    throw as_api_error(error);
  }
  most_ = load_;
}

// In the places of those that have ended.
void StreamGroup::admit_next() {
  while (num_submitted_ < parts_.size()) {
    Part& part = parts_[num_submitted_];
    const bool has_place = load_.num_parts < most_.num_parts && load_.num_tokens + part.num_tokens <= most_.num_tokens;
    if (!has_place && load_.num_parts > 0) return;
    if (part.request.timeout_ms > 0.0) {
      const std::chrono::duration<double, std::milli> waited = std::chrono::steady_clock::now() - begin_;
      constexpr double kLeastMs = 0.001;  // 0 would be no limit
      part.request.timeout_ms = std::max(kLeastMs, part.request.timeout_ms - waited.count());
    }
    const Submission submission = submit(part, Entry::kNextOfList);
    if (submission.stream == nullptr) return reader_->on_refused(refusal_of(submission));
    part.stream->set_listener([self = shared_from_this()] { self->schedule(); });
  }
}

void StreamGroup::cancel(size_t prompt_index, int choice) {
  for (const Part& part : parts_) {
    const int index = choice - part.first_choice;
    if (part.prompt != prompt_index || part.stream == nullptr || index < 0) continue;
    if (index < part.stream->num_choices()) return part.stream->cancel(index);
  }
}

void StreamGroup::start(std::unique_ptr<StreamReader> reader) {
  reader_ = std::move(reader);
  const auto self = shared_from_this();
  // The listeners keep the group alive, not the exchange.
  exchange_->on_disconnect([weak = weak_from_this()] {
    if (const auto group = weak.lock()) group->on_gone();
  });
  for (size_t i = 0; i < num_submitted_ && !is_stopped_; ++i) {
    parts_[i].stream->set_listener([self] { self->schedule(); });
  }
}

void StreamGroup::schedule() {
  if (!is_scheduled_.exchange(true))
    exchange_->post([self = shared_from_this()] {
      self->is_scheduled_ = false;
      self->pump();
    });
}

void StreamGroup::pump() {
  const auto self = shared_from_this();
  try {
    read_all();
  } catch (...) {
    stop();  // the connection answers, so the reader must not
    throw;
  }
}

void StreamGroup::read_all() {
  if (is_stopped_) return;
  for (size_t i = 0; i < num_submitted_ && !is_stopped_; ++i) read(parts_[i]);
  if (!is_stopped_) admit_next();
  if (is_stopped_) return;
  const bool is_last = is_complete();
  reader_->on_pause(is_last);
  if (is_last) stop();
}

void StreamGroup::read(Part& part) {
  if (part.is_done) return;
  while (reader_->has_room()) {
    std::optional<OutputEvent> event = part.stream->try_next();
    if (!event) break;
    event->choice += part.first_choice;
    reader_->on_event(part.prompt, std::move(*event));
    if (is_stopped_) return;
  }
  if (!part.stream->is_drained()) return;
  part.is_done = true;
  --load_.num_parts;
  load_.num_tokens -= part.num_tokens;
}

void StreamGroup::stop() {
  const auto self = shared_from_this();
  if (is_stopped_) return;
  is_stopped_ = true;
  for (const Part& part : parts_) {
    if (part.stream == nullptr) continue;
    if (!part.is_done) part.stream->cancel();
    part.stream->set_listener({});
  }
}

void StreamGroup::on_gone() {
  if (is_stopped_) return;
  stop();
  reader_->on_gone();
}

}  // namespace quire
