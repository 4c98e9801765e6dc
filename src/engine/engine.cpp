#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/random.h"

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
  options.max_logit_rows = limits.max_logit_rows;
  options.num_swap_slots = limits.num_swap_blocks;
  return options;
}

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

int64_t completion_tokens(const GenerateRequest& request) {
  if (request.pooling != Pooling::kNone) return 0;
  return request.max_tokens < 0 ? 1 : request.max_tokens;
}

// When a client that was refused may try again: half the queue should have gone.
constexpr double kLeastRetryMs = 250.0;
constexpr double kMostRetryMs = 60'000.0;

}  // namespace

struct Engine::Choice {
  Sequence sequence;
  std::shared_ptr<const GenerateRequest> request;
  std::shared_ptr<OutputStream> stream;
  Sampler sampler;
  uint64_t seed = 0;
  int index = 0;
  int64_t chosen_row = 0;   // whose logits choose kTokenToCome in the step that runs
  int64_t max_length = 0;   // tokens, prompt included
  bool is_queued = true;    // counts to the queue's limits
  bool is_padding = false;  // finished for its reader, computing on for a padded batch
  RequestTiming timing;
  std::vector<SampledToken> prompt_logprobs;
  bool has_bad_prompt = false;  // a row of its prompt that was to be reported holds no usable number
  std::vector<double> pooled;   // sum of hidden states so far
  int64_t num_pooled = 0;

  bool wants_token() const { return !is_padding && max_length > sequence.num_prompt_tokens; }
  bool is_embedding() const { return request->pooling != Pooling::kNone; }
  // How the model runner may choose the next token; nothing when the engine needs the logits.
  std::optional<SamplingRow> wish() const {
    if (sequence.needs_all_rows || sequence.num_slots > 1) return std::nullopt;
    return wants_token() ? sampler.wish(sequence.tokens.back() == kTokenToCome ? 1 : 0) : SamplingRow{};
  }
};

Engine::Engine(std::unique_ptr<ModelRunner> runner, EngineOptions options)
    : runner_(std::move(runner)),
      options_(std::move(options)),
      scheduler_(within_limits(options_.scheduler, *runner_)) {
  if (!options_.now_ms) options_.now_ms = steady_now_ms;
  for (int thread = 0; thread < runner_->num_host_threads(); ++thread) {
    sampler_scratch_.emplace_back(runner_->info().vocab_size);
  }
  counted_.blocks_total = scheduler_.blocks().num_total();
  counted_.block_size = kKvBlockSize;
  status_ = counted_;
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
  const int64_t completion = completion_tokens(request);
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
  if (request.num_choices > 1 && completion == 0) {
    fail(ErrorCode::kInvalidArgument, "{} choices are asked for, but no token is to be generated", request.num_choices);
  }
}

// A sequence alone must be able to reach its end, or the promise of progress would be empty.
int64_t Engine::max_sequence_tokens() const {
  return std::min(runner_->options().max_context, scheduler_.blocks().num_total() * kKvBlockSize);
}

Submission Engine::refuse(Refusal refusal) {
  ++(refusal == Refusal::kQueueRequests ? refused_requests_ : refused_tokens_);
  const double wait = finish_interval_ms_ * static_cast<double>(queued_requests_) / 2;
  return {nullptr, refusal, std::clamp(wait, kLeastRetryMs, kMostRetryMs)};
}

std::optional<Submission> Engine::refuse_when_full() {
  if (queued_requests_ < options_.max_queued_requests) return std::nullopt;
  const std::lock_guard lock(queue_mutex_);
  return refuse(Refusal::kQueueRequests);
}

Submission Engine::submit(GenerateRequest request) {
  validate(request);
  const auto shared = std::make_shared<const GenerateRequest>(std::move(request));
  const auto num_tokens = static_cast<int64_t>(shared->prompt.size());
  {
    const std::lock_guard lock(queue_mutex_);
    Refusal refusal = Refusal::kNone;
    if (queued_requests_ >= options_.max_queued_requests) refusal = Refusal::kQueueRequests;
    // Alone in the queue any prompt is welcome.
    if (queued_requests_ > 0 && queued_tokens_ + num_tokens > options_.max_queued_tokens)
      refusal = Refusal::kQueueTokens;
    if (refusal != Refusal::kNone) return refuse(refusal);
    const uint64_t id = next_id_;
    next_id_ += static_cast<uint64_t>(shared->num_choices);
    auto choice = make_choice(shared, id, shared->sampling.seed.value_or(philox(options_.seed, id)), 0);
    choice->stream = std::make_shared<OutputStream>(shared->num_choices);
    choice->timing.arrival_ms = options_.now_ms();
    choice->sequence.deadline_ms = shared->timeout_ms > 0 ? choice->timing.arrival_ms + shared->timeout_ms : 0.0;
    std::shared_ptr<OutputStream> stream = choice->stream;
    ++queued_requests_;
    queued_tokens_ += num_tokens;
    queue_.push_back(std::move(choice));
    wake();
    return {std::move(stream)};
  }
}

std::unique_ptr<Engine::Choice> Engine::make_choice(std::shared_ptr<const GenerateRequest> request, uint64_t id,
                                                    uint64_t seed, int index) const {
  const GenerateRequest& asked = *request;
  SamplingParams sampling = asked.sampling;
  sampling.seed = seed;
  auto choice =
      std::make_unique<Choice>(Choice{.sequence = {},
                                      .request = std::move(request),
                                      .stream = nullptr,
                                      .sampler = Sampler(std::move(sampling), seed, asked.prompt, asked.eog_ids),
                                      .seed = seed,
                                      .index = index,
                                      .timing = {},
                                      .prompt_logprobs = {},
                                      .pooled = {}});
  const auto prompt_size = static_cast<int64_t>(asked.prompt.size());
  const bool is_open = asked.max_tokens < 0 && asked.pooling == Pooling::kNone;
  choice->max_length = is_open ? max_sequence_tokens() : prompt_size + completion_tokens(asked);

  Sequence& sequence = choice->sequence;
  sequence.id = id;
  sequence.tokens = asked.prompt;
  sequence.num_prompt_tokens = prompt_size;
  sequence.max_tokens = choice->max_length;
  sequence.num_slots = asked.num_choices;
  sequence.needs_all_rows = asked.num_prompt_logprobs >= 0 || asked.pooling == Pooling::kMean;
  sequence.priority = asked.priority;
  sequence.tenant = asked.tenant;
  // Sequences on different sides of the model's RoPE switch have different K for the same tokens.
  const int64_t rope_switch = runner_->info().rope_switch_length;
  sequence.cache_salt = asked.cache_salt + (rope_switch > 0 && choice->max_length > rope_switch ? "/long" : "/");
  return choice;
}

void Engine::wake() const {
  wakes_.fetch_add(1, std::memory_order_release);
  wakes_.notify_all();
}

EngineStatus Engine::status(bool with_blocks) const {
  EngineStatus status;
  {
    const std::lock_guard lock(status_mutex_);
    status = status_;
  }
  if (with_blocks) {
    wants_blocks_ = true;
    wake();
  } else {
    status.blocks.clear();
  }
  // Those the engine thread has not seen yet wait too.
  status.num_waiting = std::max<int64_t>(status.num_waiting, queued_requests_);
  status.refused_requests = refused_requests_;
  status.refused_tokens = refused_tokens_;
  return status;
}

bool Engine::step() {
  const double start = options_.now_ms();
  admit_and_cancel();
  if (!running_) running_ = start_step();
  if (!running_) {
    update_status({}, 0, 0, 0);
    return false;
  }
  scheduler_.commit();
  double planned = std::max(start, running_->started_ms);
  if (promise_tokens(*running_)) {
    next_ = start_step();
    planned = options_.now_ms();
  }
  logits_ = runner_->finish();
  const double ran = options_.now_ms();
  scheduler_.observe_step_ms(running_->counted.shape, ran - std::max(running_->started_ms, last_ran_ms_));
  last_ran_ms_ = ran;
  decode(*running_);
  end_padding();
  update_status(running_->counted, planned - start, ran - planned, options_.now_ms() - ran);
  running_ = std::exchange(next_, std::nullopt);
  return true;
}

// Plans a step and has it run; nothing when there is nobody to run.
std::optional<Engine::RunningStep> Engine::start_step() {
  const StepPlan& plan = scheduler_.plan();
  if (plan.items.empty()) return std::nullopt;
  RunningStep step{.parts = {}, .counted = {{}, {}, plan.shape, plan.num_preempted, plan.num_swapped_out}};
  carry_out(plan.moves);
  fill_batch(plan, step);
  if (runner_->can_sample()) wish_for_tokens(step);
  step.samples = !batch_.sampling.empty();
  step.tells_tokens_only = batch_.hidden_rows.empty() && batch_.sampling.size() == batch_.logit_rows.size();
  step.started_ms = options_.now_ms();
  runner_->start(batch_);
  return step;
}

// Whether the next step may be planned before this one has run. Then its sequences have room for the tokens that it
// will choose, and those which these tokens end leave the scheduler at once.
bool Engine::promise_tokens(const RunningStep& step) {
  const bool pads = scheduler_.options().static_batching == StaticBatching::kPadded;
  if (!options_.run_ahead || !runner_->runs_ahead() || !step.tells_tokens_only || pads) return false;
  for (const Part& part : step.parts) {
    if (part.choice == nullptr || !part.samples) continue;
    Choice& choice = *part.choice;
    choice.chosen_row = static_cast<int64_t>(part.first_row);
    choice.sequence.tokens.push_back(kTokenToCome);
    if (choice.sequence.num_tokens() >= choice.max_length) scheduler_.finish(&choice.sequence);
  }
  return true;
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
  std::vector<std::pair<Choice*, FinishReason>> ended;
  const double now = options_.now_ms();
  for (const auto& [sequence, choice] : choices_) {
    if (choice->is_padding) continue;
    if (choice->stream->is_cancelled(choice->index)) {
      ended.emplace_back(choice.get(), FinishReason::kCancelled);
    } else if (sequence->deadline_ms > 0 && now > sequence->deadline_ms) {
      ended.emplace_back(choice.get(), FinishReason::kTimeout);
    }
  }
  for (const auto& [choice, reason] : ended) finish(*choice, {}, reason);
}

void Engine::carry_out(const std::vector<StepPlan::Move>& moves) {
  using enum StepPlan::Move::Kind;
  int64_t num_swaps = 0;
  // The time that swapping takes is measured, so it must not hold that of a step which still runs.
  if (std::ranges::any_of(moves, [](const StepPlan::Move& move) { return move.kind != kCopy; })) runner_->wait();
  const double start = options_.now_ms();
  for (const StepPlan::Move& move : moves) {
    switch (move.kind) {
      case kCopy: runner_->copy_block(move.from, move.to); break;
      case kSwapOut: runner_->swap_out(move.from, move.to); break;
      case kSwapIn: runner_->swap_in(move.from, move.to); break;
    }
    num_swaps += move.kind == kCopy ? 0 : 1;
  }
  if (num_swaps > 0) scheduler_.observe_move_ms((options_.now_ms() - start) / static_cast<double>(num_swaps));
}

void Engine::fill_batch(const StepPlan& plan, RunningStep& step) {
  batch_.clear();
  for (const StepPlan::Item& item : plan.items) {
    const Sequence& sequence = *item.sequence;
    Choice& choice = *choices_.at(item.sequence);
    start_clock(choice);
    const auto first_row = static_cast<int32_t>(batch_.token_ids.size());
    const auto end_row = first_row + static_cast<int32_t>(item.num_tokens);
    const auto begin = sequence.tokens.begin() + sequence.num_computed_tokens;
    batch_.token_ids.insert(batch_.token_ids.end(), begin, begin + item.num_tokens);
    if (batch_.token_ids.back() == kTokenToCome) batch_.token_ids.back() = chosen_token(choice.chosen_row);
    batch_.sequences.push_back({.num_tokens = item.num_tokens,
                                .first_position = sequence.num_computed_tokens,
                                .block_table = sequence.blocks,
                                .length_limit = choice.max_length});
    std::vector<int32_t>& wanted = choice.is_embedding() ? batch_.hidden_rows : batch_.logit_rows;
    const size_t first_wanted = wanted.size();
    if (sequence.needs_all_rows) {
      for (int32_t row = first_row; row < end_row; ++row) wanted.push_back(row);
    } else if (item.samples) {
      wanted.push_back(end_row - 1);
    }
    step.parts.push_back({.choice = &choice,
                          .first_position = sequence.num_computed_tokens,
                          .num_tokens = item.num_tokens,
                          .samples = item.samples,
                          .first_row = first_wanted,
                          .num_rows = wanted.size() - first_wanted});
  }
}

// All of a step's tokens are chosen by the runner, or none.
void Engine::wish_for_tokens(const RunningStep& step) {
  for (const Part& part : step.parts) {
    if (part.choice->is_embedding() || part.num_rows == 0) continue;
    const std::optional<SamplingRow> wish = part.choice->wish();
    if (!wish) return batch_.sampling.clear();
    batch_.sampling.push_back(*wish);
  }
}

void Engine::start_clock(Choice& choice) {
  if (choice.timing.first_scheduled_ms != 0.0) return;
  choice.timing.first_scheduled_ms = options_.now_ms();
  counted_.prompt_tokens += choice.sequence.num_prompt_tokens;
  counted_.cached_tokens += choice.sequence.num_cached_tokens;
  leave_queue(choice);
}

void Engine::leave_queue(Choice& choice) {
  if (!choice.is_queued) return;
  choice.is_queued = false;
  --queued_requests_;
  queued_tokens_ -= choice.sequence.num_prompt_tokens;
}

std::span<const float> Engine::logits_of(size_t row) const {
  const auto vocab_size = static_cast<size_t>(runner_->info().vocab_size);
  return logits_.subspan(row * vocab_size, vocab_size);
}

void Engine::decode(const RunningStep& step) {
  draws_.clear();
  for (const Part& part : step.parts) {
    if (part.choice == nullptr) continue;
    Choice& choice = *part.choice;
    if (choice.is_embedding()) {
      collect_hidden_rows(choice, part);
      continue;
    }
    if (choice.sequence.needs_all_rows) collect_prompt_rows(choice, part);
    if (!part.samples) continue;
    const size_t row = part.first_row + part.num_rows - 1;
    if (choice.sequence.num_slots > 1) fork_choices(choice, row);
    draws_.push_back({&choice, row, {}});
  }
  choose_tokens(step.samples);
  for (Draw& draw : draws_) take(draw);
}

void Engine::choose_tokens(bool were_chosen) {
  if (!were_chosen) {
    // Samplers know nothing of each other.
    return runner_->parallel_for(static_cast<int64_t>(draws_.size()), [this](int64_t i, int thread) {
      Draw& draw = draws_[static_cast<size_t>(i)];
      SamplerScratch& scratch = sampler_scratch_[static_cast<size_t>(thread)];
      if (draw.choice->wants_token()) draw.token = draw.choice->sampler.sample(logits_of(draw.row), scratch);
    });
  }
  for (Draw& draw : draws_) {
    const int32_t id = runner_->tokens()[draw.row];
    if (id < 0 || !draw.choice->wants_token()) continue;
    draw.choice->sampler.accept(id);
    draw.token = SampledToken{.id = id, .top = {}};
  }
}

// The row of a position tells the next token; the first token of all has nothing before it.
void Engine::collect_prompt_rows(Choice& choice, const Part& part) {
  const Sequence& sequence = choice.sequence;
  std::vector<SampledToken>& known = choice.prompt_logprobs;
  if (known.empty()) known.push_back({.id = sequence.tokens[0], .top = {}});
  for (int64_t i = 0; i < part.num_tokens; ++i) {
    const int64_t next = part.first_position + i + 1;
    // After a preemption rows come a second time.
    if (next >= sequence.num_prompt_tokens || next != static_cast<int64_t>(known.size())) continue;
    const size_t row = part.first_row + static_cast<size_t>(i);
    std::optional<SampledToken> report =
        report_token(logits_of(row), sequence.tokens[next], choice.request->num_prompt_logprobs, sampler_scratch_[0]);
    choice.has_bad_prompt = choice.has_bad_prompt || !report;
    known.push_back(std::move(report).value_or(SampledToken{}));
  }
  // What was asked for is known; from now on it is a sequence like any other.
  if (part.samples) choice.sequence.needs_all_rows = false;
}

void Engine::collect_hidden_rows(Choice& choice, const Part& part) {
  const bool wants_all = choice.sequence.needs_all_rows;
  const auto hidden_size = static_cast<size_t>(runner_->info().hidden_size);
  const std::span<const float> hidden = runner_->hidden();
  choice.pooled.resize(hidden_size);
  for (size_t i = 0; i < part.num_rows; ++i) {
    const int64_t position = part.first_position + static_cast<int64_t>(i);
    if (wants_all && position != choice.num_pooled) continue;  // seen before a preemption
    const float* const row = &hidden[(part.first_row + i) * hidden_size];
    for (size_t d = 0; d < hidden_size; ++d) choice.pooled[d] += row[d];
    ++choice.num_pooled;
  }
  if (!part.samples) return;
  choice.timing.first_token_ms = choice.timing.last_token_ms = options_.now_ms();
  OutputEvent event;
  bool is_finite = true;
  for (const double sum : choice.pooled) {
    event.embedding.push_back(static_cast<float>(sum / static_cast<double>(choice.num_pooled)));
    is_finite = is_finite && std::isfinite(sum);
  }
  finish(choice, std::move(event), is_finite ? FinishReason::kLength : FinishReason::kError);
}

// The prompt of a request with several choices is in the cache: the others start from its blocks and logits.
void Engine::fork_choices(Choice& parent, size_t row) {
  for (int index = 1; index < parent.request->num_choices; ++index) {
    auto child = make_choice(parent.request, parent.sequence.id + static_cast<uint64_t>(index),
                             philox(parent.seed, static_cast<uint64_t>(index)), index);
    child->stream = parent.stream;
    child->is_queued = false;
    child->has_bad_prompt = parent.has_bad_prompt;
    child->timing = parent.timing;
    scheduler_.fork(&parent.sequence, &child->sequence);
    draws_.push_back({child.get(), row, {}});
    choices_.emplace(&child->sequence, std::move(child));
  }
}

void Engine::take(Draw& draw) {
  Choice& choice = *draw.choice;
  if (choice.is_padding) return choice.sequence.tokens.push_back(0);
  OutputEvent event;
  const double now = options_.now_ms();
  event.time_ms = now;
  if (choice.timing.first_token_ms == 0.0) choice.timing.first_token_ms = now;
  choice.timing.last_token_ms = now;
  if (choice.index == 0) event.prompt_logprobs = std::exchange(choice.prompt_logprobs, {});
  if (choice.has_bad_prompt) return finish(choice, {}, FinishReason::kError);
  if (!choice.wants_token()) return finish(choice, std::move(event), FinishReason::kLength);
  std::optional<SampledToken>& token = draw.token;
  if (!token) return finish(choice, std::move(event), FinishReason::kError);

  const GenerateRequest& request = *choice.request;
  ++counted_.generated_tokens;
  std::vector<int32_t>& tokens = choice.sequence.tokens;
  if (tokens.back() == kTokenToCome) tokens.pop_back();
  tokens.push_back(token->id);
  event.is_stop_token =
      (!request.ignore_eos && contains(request.eog_ids, token->id)) || contains(request.stop_token_ids, token->id);
  event.has_token = true;
  event.token = std::move(*token);
  if (event.is_stop_token) return finish(choice, std::move(event), FinishReason::kStop);
  if (choice.sequence.num_tokens() >= choice.max_length) return finish(choice, std::move(event), FinishReason::kLength);
  publish(choice, std::move(event));
}

void Engine::publish(Choice& choice, OutputEvent event) {
  event.choice = choice.index;
  choice.stream->push(std::move(event));
}

void Engine::finish(Choice& choice, OutputEvent event, FinishReason reason) {
  leave_queue(choice);
  counted_.num_cancelled += reason == FinishReason::kCancelled ? 1 : 0;
  counted_.num_timed_out += reason == FinishReason::kTimeout ? 1 : 0;
  counted_.num_failed += reason == FinishReason::kError ? 1 : 0;
  const double now = options_.now_ms();
  if (last_finish_ms_ > 0) {
    const double interval = finish_interval_ms_;
    finish_interval_ms_ = interval + 0.1 * (now - last_finish_ms_ - interval);
  }
  last_finish_ms_ = now;
  event.finish = reason;
  event.timing = choice.timing;
  event.num_cached_tokens = choice.sequence.num_cached_tokens;
  event.num_preemptions = choice.sequence.num_preemptions;
  // A request that ends before its choices were forked ends all of them.
  for (int unborn = choice.sequence.num_slots - 1; unborn > 0; --unborn) {
    OutputEvent last;
    last.choice = unborn;
    last.finish = reason;
    last.timing = choice.timing;
    choice.stream->push(std::move(last));
  }
  const std::shared_ptr<OutputStream> stream = choice.stream;
  const int index = choice.index;
  const bool is_regular = reason == FinishReason::kStop || reason == FinishReason::kLength;
  if (is_regular && scheduler_.options().static_batching == StaticBatching::kPadded && !choice.is_embedding()) {
    choice.is_padding = true;
  } else {
    end(choice);
  }
  event.choice = index;
  stream->push(std::move(event));
}

void Engine::end(Choice& choice) {
  for (std::optional<RunningStep>* step : {&running_, &next_}) {
    if (!*step) continue;
    for (Part& part : (*step)->parts) {
      if (part.choice == &choice) part.choice = nullptr;
    }
  }
  scheduler_.finish(&choice.sequence);
  choices_.erase(&choice.sequence);
}

// Padded static batches: who has finished computes on until the last of its batch has.
void Engine::end_padding() {
  if (scheduler_.options().static_batching != StaticBatching::kPadded) return;
  const bool batch_runs = std::any_of(choices_.begin(), choices_.end(), [](const auto& entry) {
    return !entry.second->is_padding && entry.first->state == SequenceState::kRunning;
  });
  std::vector<Choice*> ended;
  for (const auto& [sequence, choice] : choices_) {
    if (choice->is_padding && (!batch_runs || sequence->num_tokens() >= max_sequence_tokens())) {
      ended.push_back(choice.get());
    }
  }
  for (Choice* choice : ended) end(*choice);
}

void Engine::update_status(const StepPlan& counted, double plan_ms, double run_ms, double decode_ms) {
  const BlockManager& blocks = scheduler_.blocks();
  counted_.num_running = scheduler_.num_running();
  counted_.num_waiting = scheduler_.num_waiting();
  counted_.num_swapped = scheduler_.num_swapped();
  counted_.blocks_active = blocks.num_active();
  counted_.blocks_cached = blocks.num_cached();
  if (wants_blocks_.exchange(false)) {
    counted_.blocks.resize(static_cast<size_t>(blocks.num_total()));
    for (int32_t block = 0; block < blocks.num_total(); ++block) counted_.blocks[block] = blocks.state(block);
  }
  if (counted.shape.rows > 0) {
    const auto bucket = [](const auto& bounds, auto value) {
      return static_cast<size_t>(std::lower_bound(bounds.begin(), bounds.end(), value) - bounds.begin());
    };
    ++counted_.num_steps;
    ++counted_.step_tokens[bucket(kStepTokenBounds, counted.shape.rows)];
    ++counted_.step_ms[bucket(kStepMsBounds, plan_ms + run_ms + decode_ms)];
    counted_.computed_tokens += counted.shape.rows;
    counted_.num_preemptions += counted.num_preempted;
    counted_.num_swaps += counted.num_swapped_out;
    counted_.plan_ms += plan_ms;
    counted_.run_ms += run_ms;
    counted_.decode_ms += decode_ms;
  }
  const std::lock_guard lock(status_mutex_);
  // The map is moved, not copied: it may be large, and most steps bring none.
  std::vector<EngineStatus::Block> map = std::move(counted_.blocks.empty() ? status_.blocks : counted_.blocks);
  counted_.blocks.clear();
  status_ = counted_;
  status_.blocks = std::move(map);
}

}  // namespace quire
