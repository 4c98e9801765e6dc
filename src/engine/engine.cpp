#include "engine/engine.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "base/error.h"
#include "decoding/random.h"

namespace quire {
namespace {

double steady_now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

SchedulerOptions within_limits(SchedulerOptions options, const ModelRunner& runner) {
  const RunnerOptions& limits = runner.options();
  options.block_size = kKvBlockSize;
  options.num_blocks = limits.num_blocks;
  options.max_batch_tokens = limits.max_batch_tokens;
  options.max_sequences = limits.max_sequences;
  return options;
}

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

struct Engine::Choice {
  Sequence sequence;
  std::shared_ptr<const GenerateRequest> request;
  std::shared_ptr<OutputStream> stream;
  Sampler sampler;
  uint64_t seed;
  int index = 0;
  int64_t max_length = 0;  // tokens, prompt included
  RequestTiming timing;
};

Engine::Engine(std::unique_ptr<ModelRunner> runner, EngineOptions options)
    : runner_(std::move(runner)), options_(std::move(options)), scheduler_(within_limits(options_.scheduler, *runner_)) {
  if (!options_.now_ms) options_.now_ms = steady_now_ms;
}

Engine::~Engine() = default;

void Engine::validate(const GenerateRequest& request) const {
  const ModelInfo& info = runner_->info();
  const int64_t context = max_sequence_tokens();
  const auto prompt_size = static_cast<int64_t>(request.prompt.size());
  request.sampling.validate(info.vocab_size);
  if (prompt_size == 0) fail(ErrorCode::kInvalidArgument, "the prompt is empty; give at least one token");
  for (const int32_t id : request.prompt) {
    if (id < 0 || id >= info.vocab_size) {
      fail(ErrorCode::kInvalidArgument, "the prompt holds token id {}, the model knows 0 to {}", id,
           info.vocab_size - 1);
    }
  }
  const int64_t completion = std::max<int64_t>(request.max_tokens, 1);
  if (prompt_size + completion > context) {
    fail(
        ErrorCode::kLimit,
        "This model's maximum context length is {} tokens. However, you requested {} tokens ({} in the messages, {} in "
        "the completion). Shorten the prompt, lower max_tokens or raise --ctx-size.",
        context, prompt_size + completion, prompt_size, completion);
  }
  if (request.num_choices < 1 || !scheduler_.can_ever_fit(prompt_size + completion, request.num_choices)) {
    fail(ErrorCode::kLimit,
         "{} choices of {} tokens can never run here: at most {} sequences, {} KV blocks of {} tokens",
         request.num_choices, prompt_size + completion, runner_->options().max_sequences, runner_->options().num_blocks,
         kKvBlockSize);
  }
}

// A sequence alone must be able to reach its end, or the promise of progress would be empty.
int64_t Engine::max_sequence_tokens() const {
  return std::min(runner_->options().max_context, scheduler_.blocks().num_total() * kKvBlockSize);
}

Submission Engine::submit(GenerateRequest request) {
  validate(request);
  const auto shared = std::make_shared<const GenerateRequest>(std::move(request));
  const std::lock_guard lock(queue_mutex_);
  const auto num_queued = static_cast<int64_t>(queue_.size()) + status().num_waiting;
  if (num_queued >= options_.max_queued_requests) return {nullptr, Refusal::kQueueRequests, 1000};
  const uint64_t id = next_id_;
  next_id_ += static_cast<uint64_t>(shared->num_choices);
  const uint64_t seed = shared->sampling.seed.value_or(philox(options_.seed, id));
  auto stream = std::make_shared<OutputStream>(shared->num_choices);
  auto choice =
      std::make_unique<Choice>(Choice{.sequence = {},
                                      .request = shared,
                                      .stream = stream,
                                      .sampler = Sampler(shared->sampling, seed, shared->prompt, shared->eog_ids),
                                      .seed = seed,
                                      .timing = {.arrival_ms = options_.now_ms()}});
  choice->sequence.id = id;
  choice->sequence.tokens = shared->prompt;
  choice->sequence.num_prompt_tokens = choice->sequence.num_tokens();
  choice->sequence.num_slots = shared->num_choices;
  choice->max_length = shared->max_tokens < 0 ? max_sequence_tokens() : choice->sequence.num_tokens() + shared->max_tokens;
  queue_.push_back(std::move(choice));
  if (wake_) wake_();
  return {std::move(stream)};
}

bool Engine::step() {
  admit_and_cancel();
  const StepPlan& plan = scheduler_.plan();
  {
    const std::lock_guard lock(status_mutex_);
    status_.num_waiting = scheduler_.num_waiting();
  }
  if (plan.items.empty()) return false;
  run(plan);
  const std::vector<StepPlan::Item> items = plan.items;
  scheduler_.commit();
  decode(items);
  return true;
}

EngineStatus Engine::status(bool with_blocks) const {
  if (with_blocks) wants_blocks_ = true;
  const std::lock_guard lock(status_mutex_);
  return status_;
}

void Engine::admit_and_cancel() {
  std::vector<std::unique_ptr<Choice>> arrived;
  {
    const std::lock_guard lock(queue_mutex_);
    arrived.swap(queue_);
  }
  for (std::unique_ptr<Choice>& choice : arrived) {
    Sequence* sequence = &choice->sequence;
    choices_.emplace(sequence, std::move(choice));
    scheduler_.add(sequence);
  }
  std::vector<Choice*> cancelled;
  for (const auto& [sequence, choice] : choices_) {
    if (choice->stream->is_cancelled(choice->index)) cancelled.push_back(choice.get());
  }
  for (Choice* choice : cancelled) finish(*choice, {}, FinishReason::kCancelled);
}

void Engine::run(const StepPlan& plan) {
  for (const auto& [from, to] : plan.copies) runner_->copy_block(from, to);
  batch_.clear();
  const double now = options_.now_ms();
  for (const StepPlan::Item& item : plan.items) {
    const Sequence& sequence = *item.sequence;
    const auto begin = sequence.tokens.begin() + sequence.num_computed_tokens;
    batch_.token_ids.insert(batch_.token_ids.end(), begin, begin + item.num_tokens);
    Choice& choice = *choices_.at(item.sequence);
    batch_.sequences.push_back({.num_tokens = item.num_tokens,
                                .first_position = sequence.num_computed_tokens,
                                .block_table = sequence.blocks,
                                .length_limit = choice.max_length});
    if (item.samples) batch_.logit_rows.push_back(static_cast<int32_t>(batch_.token_ids.size()) - 1);
    if (choice.timing.first_scheduled_ms == 0.0) choice.timing.first_scheduled_ms = now;
  }
  logits_ = runner_->run(batch_);
}

void Engine::decode(const std::vector<StepPlan::Item>& items) {
  const auto vocab_size = static_cast<size_t>(runner_->info().vocab_size);
  size_t row = 0;
  for (const StepPlan::Item& item : items) {
    if (!item.samples) continue;
    const std::span<const float> logits = logits_.subspan(row++ * vocab_size, vocab_size);
    Choice& choice = *choices_.at(item.sequence);
    if (choice.sequence.num_slots > 1) fork_choices(choice, logits);
    sample(choice, logits);
  }
}

// The prompt of a request with several choices is in the cache: the others start from its blocks and logits.
void Engine::fork_choices(Choice& parent, std::span<const float> logits) {
  for (int index = 1; index < parent.request->num_choices; ++index) {
    const uint64_t seed = philox(parent.seed, static_cast<uint64_t>(index));
    SamplingParams sampling = parent.request->sampling;
    sampling.seed = seed;
    auto child = std::make_unique<Choice>(
        Choice{.sequence = {},
               .request = parent.request,
               .stream = parent.stream,
               .sampler = Sampler(std::move(sampling), seed, parent.request->prompt, parent.request->eog_ids),
               .seed = seed,
               .index = index,
               .max_length = parent.max_length,
               .timing = parent.timing});
    child->sequence.id = parent.sequence.id + static_cast<uint64_t>(index);
    scheduler_.fork(&parent.sequence, &child->sequence);
    Choice& added = *choices_.emplace(&child->sequence, std::move(child)).first->second;
    sample(added, logits);
  }
}

void Engine::sample(Choice& choice, std::span<const float> logits) {
  OutputEvent event;
  std::optional<SampledToken> token = choice.sampler.sample(logits);
  const double now = options_.now_ms();
  if (choice.timing.first_token_ms == 0.0) choice.timing.first_token_ms = now;
  choice.timing.last_token_ms = now;
  if (!token) return finish(choice, std::move(event), FinishReason::kError);

  const GenerateRequest& request = *choice.request;
  choice.sequence.tokens.push_back(token->id);
  event.is_stop_token =
      (!request.ignore_eos && contains(request.eog_ids, token->id)) || contains(request.stop_token_ids, token->id);
  event.has_token = true;
  event.token = std::move(*token);
  if (event.is_stop_token) return finish(choice, std::move(event), FinishReason::kStop);
  if (choice.sequence.num_tokens() >= choice.max_length) return finish(choice, std::move(event), FinishReason::kLength);
  event.choice = choice.index;
  choice.stream->push(std::move(event));
}

void Engine::finish(Choice& choice, OutputEvent event, FinishReason reason) {
  // A request cancelled before its choices were forked ends all of them.
  for (int unborn = choice.sequence.num_slots - 1; unborn > 0; --unborn) {
    OutputEvent end;
    end.choice = unborn;
    end.finish = reason;
    end.timing = choice.timing;
    choice.stream->push(std::move(end));
  }
  event.choice = choice.index;
  event.finish = reason;
  event.timing = choice.timing;
  const std::shared_ptr<OutputStream> stream = choice.stream;
  scheduler_.finish(&choice.sequence);
  choices_.erase(&choice.sequence);
  stream->push(std::move(event));
}

}  // namespace quire
