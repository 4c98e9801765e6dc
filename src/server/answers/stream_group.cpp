#include "server/answers/stream_group.h"

#include <algorithm>
#include <cmath>

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
          fmt::format("the server's queue is full ({}); try again in {} ms", is_tokens ? "prompt tokens" : "requests",
                      std::lround(refused.retry_after_ms)),
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
    : exchange_(std::move(exchange)), engine_(&engine), requests_(std::move(requests)) {
  const auto most_choices = static_cast<int>(engine.runner().options().max_sequences);
  for (size_t i = 0; i < requests_.size(); ++i) add_parts(i, most_choices);
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

void StreamGroup::add_parts(size_t prompt, int most_choices) {
  const GenerateRequest& request = requests_[prompt];
  if (request.beam.width > 0) most_choices = request.num_choices;  // the answers of one search
  for (int first = 0; first < request.num_choices; first += most_choices) {
    parts_.push_back({.prompt = prompt,
                      .first_choice = first,
                      .num_choices = std::min(most_choices, request.num_choices - first),
                      .num_tokens = static_cast<int64_t>(request.prompt.size())});
  }
}

GenerateRequest StreamGroup::request_of(const Part& part) const {
  GenerateRequest request = requests_[part.prompt];
  request.first_choice = part.first_choice;
  request.num_choices = part.num_choices;
  if (part.first_choice > 0) request.num_prompt_logprobs = -1;  // the first wave brings them
  return request;
}

Submission StreamGroup::submit(Part& part, GenerateRequest request, Entry entry) {
  Submission submission = engine_->submit(std::move(request), entry);
  if (submission.stream == nullptr) return submission;
  const bool is_last = part.first_choice + part.num_choices == requests_[part.prompt].num_choices;
  if (is_last) requests_[part.prompt] = GenerateRequest();
  part.stream = submission.stream;
  ++num_submitted_;
  ++load_.num_parts;
  load_.num_tokens += part.num_tokens;
  return submission;
}

void StreamGroup::admit_first() {
  try {
    for (const Part& part : parts_) {
      if (part.first_choice == 0) engine_->validate(request_of(part));
    }
    for (Part& part : parts_) {
      const bool is_first = num_submitted_ == 0;
      const Submission submission = submit(part, request_of(part), is_first ? Entry::kNew : Entry::kMoreOfList);
      if (submission.stream != nullptr) continue;
      if (is_first) throw refusal_of(submission);
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
    GenerateRequest request = request_of(part);
    if (request.timeout_ms > 0.0) {
      const std::chrono::duration<double, std::milli> waited = std::chrono::steady_clock::now() - begin_;
      constexpr double kLeastMs = 0.001;  // 0 would be no limit
      request.timeout_ms = std::max(kLeastMs, request.timeout_ms - waited.count());
    }
    const Submission submission = submit(part, std::move(request), Entry::kNextOfList);
    if (submission.stream == nullptr) return reader_->on_refused(refusal_of(submission));
    listen(part);
  }
}

void StreamGroup::listen(Part& part) {
  part.stream->set_listener([self = shared_from_this()] { self->schedule(); }, reader_->num_at_once());
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
  // The listeners keep the group alive, not the exchange.
  exchange_->on_disconnect([weak = weak_from_this()] {
    if (const auto group = weak.lock()) group->on_gone();
  });
  for (size_t i = 0; i < num_submitted_ && !is_stopped_; ++i) listen(parts_[i]);
}

void StreamGroup::schedule() {
  if (is_scheduled_.exchange(true)) return;
  try {
    exchange_->post([self = shared_from_this()] {
      self->is_scheduled_ = false;
      self->pump();
    });
  } catch (...) {
    is_scheduled_ = false;  // the next event tries again
    throw;
  }
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
  const auto self = shared_from_this();
  try {
    for (size_t i = 0; i < num_submitted_ && !is_stopped_; ++i) read(parts_[i]);  // its tokens count in the metrics
  } catch (...) {
    stop();
    throw;
  }
  if (is_stopped_) return;
  stop();
  reader_->on_gone();
}

}  // namespace quire
