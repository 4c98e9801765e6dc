#include "engine/admission.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/random.h"

namespace quire {
namespace {

// Bounds of Submission::retry_after_ms.
constexpr double kMinRetryMs = 250.0;
constexpr double kMaxRetryMs = 60'000.0;

// The generated tokens for which the sequence must have room.
int64_t completion_tokens(const GenerateRequest& request) {
  if (request.pooling != Pooling::kNone) return 0;
  return request.max_tokens < 0 ? 1 : request.max_tokens;
}

// At the same time.
int num_sequences(const GenerateRequest& request) { return std::max(request.num_choices, request.beam.width); }

void validate_beams(const GenerateRequest& request) {
  request.beam.validate();
  if (request.beam.width == 0) return;
  const auto refuse = [](const char* what) {
    fail(ErrorCode::kInvalidArgument, "beam search cannot be combined with {}", what);
  };
  if (request.num_choices > request.beam.width) {
    fail(ErrorCode::kInvalidArgument, "{} choices of {} beams are asked for; there are no more answers than beams",
         request.num_choices, request.beam.width);
  }
  if (request.constraint != nullptr) refuse("a grammar");
  if (request.num_prompt_logprobs >= 0) refuse("log probabilities of the prompt");
  if (!request.prediction.empty()) refuse("a prediction");
  if (request.pooling != Pooling::kNone) refuse("an embedding");
  if (request.max_tokens == 0) refuse("an answer of no token");
}

int64_t saturating_sum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

}  // namespace

void Admission::validate(const GenerateRequest& request) const {
  const ModelInfo& info = runner_.info();
  const int64_t context = max_sequence_tokens();
  const auto prompt_size = static_cast<int64_t>(request.prompt.size());
  request.sampling.validate(info.vocab_size);
  validate_beams(request);
  if (!info.has_head && request.pooling == Pooling::kNone) {
    fail(ErrorCode::kInvalidArgument, "this model ({}) has no output matrix: it makes embeddings and generates no text",
         info.architecture);
  }
  if (prompt_size == 0) fail(ErrorCode::kInvalidArgument, "the prompt is empty; give at least one token");
  for (const int32_t id : request.prompt) {
    if (id < 0 || id >= info.vocab_size) {
      fail(ErrorCode::kInvalidArgument, "the prompt holds token id {}, the model knows 0 to {}", id,
           info.vocab_size - 1);
    }
  }
  for (const int32_t id : request.prediction) {
    if (id < 0 || id >= info.vocab_size) {
      fail(ErrorCode::kInvalidArgument, "the prediction holds token id {}, the model knows 0 to {}", id,
           info.vocab_size - 1);
    }
  }
  if (request.max_drafts < -1) {
    fail(ErrorCode::kInvalidArgument,
         "{} drafts are asked for; give a number from 0, or -1 for as many as the engine's", request.max_drafts);
  }
  const int64_t completion = completion_tokens(request);
  if (std::ssize(request.prediction) > context) {
    fail(ErrorCode::kLimit, "the prediction has {} tokens, the model's context {}; leave it out or shorten it",
         request.prediction.size(), context);
  }
  // Checked before max_tokens enters any sum: a client may send any number.
  if (completion > context - prompt_size) {
    fail(
        ErrorCode::kLimit,
        "This model's maximum context length is {} tokens. However, you requested {} tokens ({} in the messages, {} in "
        "the completion). Shorten the prompt, lower max_tokens or raise --ctx-size.",
        context, saturating_sum(prompt_size, completion), prompt_size, completion);
  }
  if (request.num_choices < 1 || !scheduler_.can_ever_fit(prompt_size + completion, num_sequences(request))) {
    fail(ErrorCode::kLimit,
         "{} choices of {} tokens can never run here: at most {} sequences, {} KV blocks of {} tokens",
         num_sequences(request), prompt_size + completion, runner_.options().max_sequences,
         runner_.options().num_blocks, kKvBlockSize);
  }
  if (request.num_choices > 1 && completion == 0) {
    fail(ErrorCode::kInvalidArgument, "{} choices are asked for, but no token is to be generated", request.num_choices);
  }
}

// A sequence that runs alone must be able to reach its end; otherwise it would be preempted for ever.
int64_t Admission::max_sequence_tokens() const {
  return std::min(runner_.options().max_context, scheduler_.kv().longest_sequence());
}

int64_t Admission::max_length_of(const GenerateRequest& request) const {
  const bool is_open = request.max_tokens < 0 && request.pooling == Pooling::kNone;
  return is_open ? max_sequence_tokens() : static_cast<int64_t>(request.prompt.size()) + completion_tokens(request);
}

Submission Admission::submit(GenerateRequest request, Entry entry) {
  validate(request);
  if (request.beam.width > 0) request.max_drafts = 0;
  const int64_t max_length = max_length_of(request);
  const auto shared = std::make_shared<const GenerateRequest>(std::move(request));
  uint64_t id = 0;
  if (std::optional<Submission> refused = enter_queue(*shared, entry, id)) return *std::move(refused);

  // Prompts may be long, so they are copied before taking the lock, which every step needs too.
  auto choice = make_choice(shared, id, shared->sampling.seed.value_or(philox(options_.seed, id)), max_length);
  choice->stream = std::make_shared<OutputStream>(shared->num_choices);
  choice->timing.arrival_ms = options_.now_ms();
  if (shared->timeout_ms > 0) choice->sequence.deadline_ms = choice->timing.arrival_ms + shared->timeout_ms;
  std::shared_ptr<OutputStream> stream = choice->stream;
  const std::lock_guard lock(mutex_);
  if (is_stopped_) return refuse(Refusal::kStopped, entry);
  arrived_.push_back(std::move(choice));
  return {.stream = std::move(stream)};
}

// Takes a place in the queue and an id for each choice, or returns the refusal.
std::optional<Submission> Admission::enter_queue(const GenerateRequest& request, Entry entry, uint64_t& id) {
  const auto num_tokens = static_cast<int64_t>(request.prompt.size());
  const std::lock_guard lock(mutex_);
  if (is_stopped_) return refuse(Refusal::kStopped, entry);
  const bool is_limited = entry != Entry::kNextOfList;
  if (is_limited && queued_requests_ >= options_.max_queued_requests) return refuse(Refusal::kQueueRequests, entry);
  // An empty queue takes a prompt of any length.
  if (is_limited && queued_requests_ > 0 && num_tokens > options_.max_queued_tokens - queued_tokens_) {
    return refuse(Refusal::kQueueTokens, entry);
  }
  id = next_id_;
  next_id_ += static_cast<uint64_t>(num_sequences(request));
  ++queued_requests_;
  queued_tokens_ += num_tokens;
  return std::nullopt;
}

std::optional<Submission> Admission::refuse_when_full() {
  const std::lock_guard lock(mutex_);
  if (is_stopped_) return refuse(Refusal::kStopped, Entry::kNew);
  if (queued_requests_ < options_.max_queued_requests) return std::nullopt;
  return refuse(Refusal::kQueueRequests, Entry::kNew);
}

// The caller holds the mutex.
Submission Admission::refuse(Refusal refusal, Entry entry) {
  if (refusal == Refusal::kStopped) return {.refusal = refusal, .retry_after_ms = kMaxRetryMs};
  if (entry == Entry::kNew) ++(refusal == Refusal::kQueueRequests ? refused_requests_ : refused_tokens_);
  const double wait = finish_interval_ms_ * static_cast<double>(queued_requests_) / 2;
  return {.refusal = refusal, .retry_after_ms = std::clamp(wait, kMinRetryMs, kMaxRetryMs)};
}

std::vector<std::unique_ptr<Choice>> Admission::take_arrived() {
  const std::lock_guard lock(mutex_);
  return std::exchange(arrived_, {});
}

void Admission::leave_queue(Choice& choice) {
  if (!choice.is_queued) return;
  choice.is_queued = false;
  --queued_requests_;
  queued_tokens_ -= choice.sequence.num_prompt_tokens;
}

void Admission::observe_finish(double now_ms) {
  if (last_finish_ms_ > 0) {
    const double interval = finish_interval_ms_;
    finish_interval_ms_ = interval + 0.1 * (now_ms - last_finish_ms_ - interval);
  }
  last_finish_ms_ = now_ms;
}

void Admission::stop() {
  const std::lock_guard lock(mutex_);
  is_stopped_ = true;
}

}  // namespace quire
