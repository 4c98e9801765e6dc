#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

// After this many consecutive steps that threw the engine stops: the cause is not one request.
constexpr int kMaxConsecutiveFailures = 3;
// On a device that runs beside the host: as many as the model runner can hold.
constexpr int kMaxStepsInFlight = 2;

double steady_now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::optional<TypicalAcceptance> typical_acceptance(const SpeculationOptions& options) {
  if (options.acceptance == DraftAcceptance::kExact) return std::nullopt;
  return TypicalAcceptance{.threshold = options.typical_threshold, .alpha = options.typical_alpha};
}

EngineOptions with_clock(EngineOptions options) {
  if (!options.now_ms) options.now_ms = steady_now_ms;
  return options;
}

SchedulerOptions within_limits(SchedulerOptions options, const ModelRunner& runner) {
  const RunnerOptions& limits = runner.options();
  options.block_size = kKvBlockSize;
  options.max_batch_tokens = limits.max_batch_tokens;
  options.max_sequences = limits.max_sequences;
  options.max_logit_rows = limits.max_logit_rows;
  options.max_branches = limits.max_branches;
  options.rope_switch_length = runner.info().rope_switch_length;
  options.kv_groups.clear();
  for (const KvGroupPlan& group : runner.plan().kv_groups) {
    options.kv_groups.push_back(
        {.window = group.window, .num_blocks = group.num_blocks, .num_host_blocks = group.num_host_blocks});
  }
  return options;
}

}  // namespace

Engine::Engine(std::unique_ptr<ModelRunner> runner, EngineOptions options, std::unique_ptr<Drafter> drafter)
    : runner_(std::move(runner)),
      options_(with_clock(std::move(options))),
      scheduler_(within_limits(options_.scheduler, *runner_)),
      admission_(*runner_, scheduler_,
                 {.max_queued_requests = options_.max_queued_requests,
                  .max_queued_tokens = options_.max_queued_tokens,
                  .seed = options_.seed,
                  .now_ms = options_.now_ms}),
      speculation_(options_.speculation, std::move(drafter),
                   {.scheduler = scheduler_, .vocab_size = runner_->info().vocab_size, .now_ms = options_.now_ms}),
      executor_(*runner_, choices_,
                {.now_ms = options_.now_ms,
                 .observe_move_ms = [this](double ms_per_block) { scheduler_.observe_move_ms(ms_per_block); },
                 .on_first_step = [this](Choice& choice) { start(choice); },
                 .wants_likeliest = speculation_.reads_likeliest(),
                 .typical = typical_acceptance(options_.speculation)}),
      loop_(scheduler_, executor_, options_.run_ahead && runner_->runs_ahead() ? kMaxStepsInFlight : 1),
      counter_(scheduler_) {
  if (!options_.make_store) return;
  auto store = options_.make_store(*runner_);
  store->on_ready([this] { wake(); });
  const auto parts = [this](int group, int32_t block) { return runner_->block_parts(group, block); };
  store_client_ = std::make_unique<KvStoreClient>(std::move(store), scheduler_.kv(), scheduler_.cost(),
                                                  KvStoreClient::Options{.now_ms = options_.now_ms, .parts = parts});
}

Engine::~Engine() {
  store_client_.reset();
  finish_all(FinishReason::kCancelled);
  tell_listeners();
}

Submission Engine::submit(GenerateRequest request, Entry entry) {
  // Time without work does not count as time without progress.
  if (!has_work_ && admission_.num_queued() == 0) progress_ms_ = options_.now_ms();
  Submission submission = admission_.submit(std::move(request), entry);
  if (submission.stream != nullptr) wake();
  return submission;
}

void Engine::wake() const {
  wakes_.fetch_add(1, std::memory_order_release);
  wakes_.notify_all();
}

EngineStatus Engine::status(bool with_blocks) const {
  EngineStatus status = counter_.read(with_blocks);
  if (with_blocks) {
    counter_.ask_for_blocks();
    wake();
  }
  // Requests that the engine thread has not taken yet are waiting too.
  status.num_waiting = std::max(status.num_waiting, admission_.num_queued());
  status.refused_requests = admission_.num_refused_requests();
  status.refused_tokens = admission_.num_refused_tokens();
  status.weight_reads = runner_->weight_reads();
  return status;
}

EngineHealth Engine::health() const {
  if (is_stopped_) return EngineHealth::kStopped;
  const bool has_work = has_work_ || admission_.num_queued() > 0;
  return has_work && options_.now_ms() - progress_ms_ > options_.stall_ms ? EngineHealth::kStalled
                                                                          : EngineHealth::kHealthy;
}

void Engine::note_progress(bool has_work) {
  has_work_ = has_work;
  progress_ms_ = options_.now_ms();
}

bool Engine::step() {
  const double began = options_.now_ms();
  admit_and_cancel();
  tell_listeners();  // of requests that have ended: they do not wait for the step
  note_progress(!choices_.empty());
  if (store_client_ != nullptr) store_client_->advance();
  speculation_.propose(choices_);
  const StartedStep* step = loop_.step();
  if (step != nullptr) {
    for (const StepResults::Fork& fork : loop_.results().forks) speculation_.add(*choices_.at(fork.child));
    speculation_.settle(*step, loop_.results(), counter_);
    publish(*step);
    settle_beams(*step);
    const double planned = std::max(began, executor_.started_ms());
    counter_.count_step(step->shape, {.plan_ms = planned - began,
                                      .run_ms = executor_.ran_ms() - planned,
                                      .decode_ms = options_.now_ms() - executor_.ran_ms()});
    num_failures_ = 0;
  }
  counter_.publish(scheduler_, store_client_.get());
  note_progress(!choices_.empty());
  tell_listeners();
  return step != nullptr;
}

bool Engine::recover() {
  counter_.count_failed_step();
  bool is_usable = ++num_failures_ < kMaxConsecutiveFailures;
  try {
    executor_.abandon();
  } catch (const std::exception&) {
    is_usable = false;
  }
  for (const Sequence* sequence : loop_.abandon()) {
    // Its beams end with one of them.
    if (const auto found = choices_.find(sequence); found != choices_.end()) {
      finish(*found->second, {}, FinishReason::kAborted);
    }
  }
  if (!is_usable) {
    is_stopped_ = true;
    finish_all(FinishReason::kAborted);
  }
  counter_.publish(scheduler_, store_client_.get());
  tell_listeners();
  return is_usable;
}

void Engine::take_arrived() {
  for (std::unique_ptr<Choice>& choice : admission_.take_arrived()) {
    Sequence* sequence = &choice->sequence;
    speculation_.add(*choice);
    choices_.emplace(sequence, std::move(choice));
    scheduler_.add(sequence);
    if (store_client_ != nullptr && options_.scheduler.prefix_caching) store_client_->want(*sequence);
  }
}

void Engine::admit_and_cancel() {
  take_arrived();
  std::vector<std::pair<Choice*, FinishReason>> ended;
  const double now = options_.now_ms();
  for (const auto& [sequence, choice] : choices_) {
    if (choice->beams != nullptr && choice->beams->beams.front() != choice.get()) continue;  // it ends with the first
    if (choice->stream->is_cancelled(choice->index)) {
      ended.emplace_back(choice.get(), FinishReason::kCancelled);
    } else if (sequence->deadline_ms > 0 && now > sequence->deadline_ms) {
      ended.emplace_back(choice.get(), FinishReason::kTimeout);
    }
  }
  for (const auto& [choice, reason] : ended) finish(*choice, {}, reason);
}

// Called before the first step of the choice.
void Engine::start(Choice& choice) {
  choice.timing.first_scheduled_ms = options_.now_ms();
  counter_.count_start(choice.sequence);
  admission_.leave_queue(choice);
}

void Engine::publish(const StartedStep& step) {
  const double now = options_.now_ms();
  for (const StepResults::Fork& fork : loop_.results().forks) publish(*choices_.at(fork.child), now);
  for (const StepPlan::Item& item : step.items) {
    if (item.sequence == nullptr || !item.samples || item.sequence->is_beam) continue;
    publish(*choices_.at(item.sequence), now);
  }
}

void Engine::publish(Choice& choice, double now) {
  if (choice.timing.first_token_ms == 0.0) choice.timing.first_token_ms = now;
  choice.timing.last_token_ms = now;
  counter_.count_tokens(static_cast<int64_t>(choice.update.tokens.size()));
  std::vector<OutputEvent>& events = choice.update.events;
  for (OutputEvent& event : events) {
    event.choice = choice.index;
    event.time_ms = now;
    event.num_cached_tokens = choice.sequence.num_cached_tokens;
  }
  CHECK(!events.empty());
  const FinishReason reason = events.back().finish;
  if (reason != FinishReason::kNone) return finish(choice, std::move(events), reason);
  push(*choice.stream, events);
  choice.update.clear();  // its memory is for the next step
}

void Engine::finish(Choice& choice, std::vector<OutputEvent> events, FinishReason reason) {
  if (choice.beams != nullptr) return finish(choice.beams, reason);
  admission_.leave_queue(choice);
  admission_.observe_finish(options_.now_ms());
  counter_.count_finish(reason);
  if (events.empty()) events.emplace_back();
  OutputEvent& last = events.back();
  last.choice = choice.index;
  last.finish = reason;
  last.timing = choice.timing;
  last.num_cached_tokens = choice.sequence.num_cached_tokens;
  last.num_preemptions = choice.sequence.num_preemptions;
  last.drafts = speculation_.finish(choice);
  // When the first choice ends before the others were forked, it ends them too.
  const std::string error = last.error;
  for (int unforked = choice.sequence.num_choices - 1; unforked > 0; --unforked) {
    OutputEvent& event = events.emplace_back();
    event.choice = unforked;
    event.finish = reason;
    event.error = error;
    event.timing = choice.timing;
  }
  const std::shared_ptr<OutputStream> stream = choice.stream;
  if (store_client_ != nullptr) store_client_->forget(choice.sequence);
  loop_.finish(&choice.sequence);
  choices_.erase(&choice.sequence);
  push(*stream, events);
}

void Engine::push(OutputStream& stream, std::span<OutputEvent> events) {
  if (auto listener = stream.put(events)) listeners_.push_back(std::move(listener));
}

// To wake the readers once is cheaper than once for each stream, most of all where they share the processor.
void Engine::tell_listeners() {
  if (listeners_.empty()) return;
  if (tell_) return tell_(std::exchange(listeners_, {}));
  for (const auto& listener : std::exchange(listeners_, {})) (*listener)();
}

// Ends all choices, also those that have only arrived, and refuses further requests.
void Engine::finish_all(FinishReason reason) {
  admission_.stop();
  take_arrived();
  while (!choices_.empty()) finish(*choices_.begin()->second, {}, reason);
}

}  // namespace quire
