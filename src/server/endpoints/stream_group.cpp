#include "server/endpoints/stream_group.h"

#include <algorithm>

#include "server/endpoints/answer_errors.h"

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

std::vector<std::shared_ptr<OutputStream>> StreamGroup::submit(Engine& engine, std::vector<GenerateRequest> requests) {
  std::vector<std::shared_ptr<OutputStream>> streams;
  const auto cancel_all = [&] {
    for (const auto& stream : streams) stream->cancel();
  };
  for (GenerateRequest& request : requests) {
    Submission submission;
    try {
      submission = engine.submit(std::move(request));
    } catch (const Error& error) {
      cancel_all();
      throw as_api_error(error);
    }
    if (submission.stream == nullptr) {
      cancel_all();
      throw refusal_of(submission);
    }
    streams.push_back(std::move(submission.stream));
  }
  return streams;
}

StreamGroup::~StreamGroup() {
  for (const auto& stream : streams_) {
    if (!stream->is_drained()) stream->cancel();
  }
}

void StreamGroup::start(std::unique_ptr<StreamReader> reader) {
  reader_ = std::move(reader);
  const auto self = shared_from_this();
  // The listeners keep the group alive, not the exchange.
  exchange_->on_disconnect([weak = weak_from_this()] {
    if (const auto group = weak.lock()) group->on_gone();
  });
  for (const auto& stream : streams_) {
    if (is_stopped_) break;
    stream->set_listener([self] { self->schedule(); });
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
  if (is_stopped_) return;
  for (size_t prompt = 0; prompt < streams_.size(); ++prompt) {
    while (reader_->has_room()) {
      std::optional<OutputEvent> event = streams_[prompt]->try_next();
      if (!event) break;
      reader_->on_event(prompt, std::move(*event));
      if (is_stopped_) return;
    }
  }
  const bool is_complete =
      std::all_of(streams_.begin(), streams_.end(), [](const auto& stream) { return stream->is_drained(); });
  reader_->on_pause(is_complete);
  if (is_complete) stop();
}

void StreamGroup::stop() {
  const auto self = shared_from_this();
  if (is_stopped_) return;
  is_stopped_ = true;
  for (const auto& stream : streams_) {
    if (!stream->is_drained()) stream->cancel();
    stream->set_listener({});
  }
}

void StreamGroup::on_gone() {
  if (is_stopped_) return;
  stop();
  reader_->on_gone();
}

}  // namespace quire
