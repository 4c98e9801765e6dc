#include "engine/simulator.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "engine/draft_budget.h"
#include "engine/kv_store_client.h"
#include "engine/simulated_model.h"

namespace quire {
namespace {

// While nothing can run before the store has done something.
constexpr double kStoreWaitMs = 0.5;

class Simulation {
 public:
  Simulation(const std::vector<SimulatedRequest>& requests, const SimulationOptions& options)
      : requests_(requests),
        options_(options),
        scheduler_(options.scheduler),
        model_(options, live_),
        loop_(scheduler_, model_, options.max_steps_in_flight),
        arrival_steps_(requests.size()) {
    result_.outcomes.resize(requests.size());
    if (!options.store) return;
    CHECK(options.max_steps_in_flight == 1);
    store_client_.emplace(
        std::make_unique<SimulatedStore>(records_, *options.store), scheduler_.kv(), scheduler_.cost(),
        KvStoreClient::Options{.now_ms = [this] { return now_; },
                               .parts = [this](int group, int32_t block) { return model_.block_parts(group, block); }});
  }

  SimulationResult run() {
    while (next_ < requests_.size() || !live_.empty()) {
      if (live_.empty()) now_ = std::max(now_, requests_[next_].arrival_ms);
      admit();
      end_cancelled_and_overdue();
      step();
    }
    while (store_client_ && store_client_->is_busy()) store_client_->advance();
    if (options_.check) verify_idle();
    if (store_client_) result_.num_fetched_tokens = store_client_->statistics().num_fetched_tokens;
    result_.duration_ms = now_;
    result_.num_steps = model_.num_steps();
    result_.num_preemptions = scheduler_.num_preemptions();
    result_.num_swaps = scheduler_.num_swaps();
    result_.num_accepted_drafts = model_.num_accepted_drafts();
    result_.num_rejected_drafts = model_.num_rejected_drafts();
    return std::move(result_);
  }

 private:
  void admit() {
    for (; next_ < requests_.size() && requests_[next_].arrival_ms <= now_; ++next_) {
      const SimulatedRequest& request = requests_[next_];
      SimulatedOutcome& outcome = result_.outcomes[next_];
      if (!scheduler_.can_ever_fit(request.prompt_tokens + request.output_tokens, request.num_choices)) {
        outcome.end = SimulatedOutcome::End::kTooLarge;
      } else if (scheduler_.num_waiting() >= options_.max_queued_requests) {
        outcome.end = SimulatedOutcome::End::kRefused;
      } else {
        submit(next_, request);
      }
    }
  }

  void submit(size_t index, const SimulatedRequest& request) {
    auto choice = std::make_unique<SimulatedChoice>();
    choice->request = index;
    choice->is_first = true;
    Sequence& sequence = choice->sequence;
    sequence.id = next_id_;
    next_id_ += static_cast<uint64_t>(request.num_choices);
    for (int64_t i = 0; i < request.prompt_tokens; ++i) {
      const uint64_t owner = i < request.shared_tokens ? static_cast<uint64_t>(request.prefix) : 1'000'000 + index;
      sequence.tokens.push_back(token_after(extend_digest(owner, static_cast<int32_t>(i))));
      choice->push(sequence.tokens.back());
    }
    sequence.num_prompt_tokens = request.prompt_tokens;
    sequence.max_tokens = request.prompt_tokens + request.output_tokens;
    // A quarter of the requests with drafts does not await tokens: these draft only when no token is pending.
    sequence.awaits_tokens = request.num_drafts > 0 && index % 4 != 0;
    choice->stop_length = request.stop_after > 0
                              ? request.prompt_tokens + std::min(request.stop_after, request.output_tokens)
                              : sequence.max_tokens;
    sequence.num_choices = request.num_choices;
    sequence.priority = request.priority;
    sequence.tenant = request.tenant;
    sequence.deadline_ms = request.timeout_ms > 0 ? request.arrival_ms + request.timeout_ms : 0.0;
    arrival_steps_[index] = model_.num_steps();
    scheduler_.add(&sequence);
    if (store_client_ && options_.scheduler.prefix_caching) store_client_->want(sequence);
    live_.emplace(&sequence, std::move(choice));
  }

  void end_cancelled_and_overdue() {
    using End = SimulatedOutcome::End;
    std::vector<std::pair<SimulatedChoice*, End>> ended;
    for (const auto& [sequence, choice] : live_) {
      const SimulatedRequest& request = requests_[choice->request];
      if (request.cancel_ms > 0 && now_ > request.arrival_ms + request.cancel_ms) {
        ended.emplace_back(choice.get(), End::kCancelled);
      } else if (sequence->deadline_ms > 0 && now_ > sequence->deadline_ms) {
        ended.emplace_back(choice.get(), End::kTimeout);
      }
    }
    // The order of the map differs from run to run.
    std::sort(ended.begin(), ended.end(),
              [](const auto& a, const auto& b) { return a.first->sequence.id < b.first->sequence.id; });
    for (const auto& [choice, end] : ended) finish(*choice, end);
  }

  // One step, as Engine::step does it.
  void step() {
    if (store_client_) store_client_->advance();
    propose_drafts();
    const StartedStep* step = loop_.step();
    if (step == nullptr && store_client_ && store_client_->is_busy()) {
      now_ += kStoreWaitMs;
      return;
    }
    if (step == nullptr) {
      if (!live_.empty()) model_.fail_invariant(fmt::format("{} sequences wait and nobody runs", live_.size()));
      return;
    }
    now_ += loop_.results().step_ms;
    result_.computed_tokens += step->shape.rows;
    if (options_.check) scheduler_.check();
    for (const StepPlan::Item& item : step->items) {
      if (item.sequence != nullptr && item.samples) append(*live_.at(item.sequence));
    }
    for (const StepResults::Fork& fork : loop_.results().forks) append(*live_.at(fork.child));
    if (options_.check) scheduler_.check();
  }

  // Sets drafts, some of them wrong.
  void propose_drafts() {
    candidates_.clear();
    drafting_.clear();
    for (Sequence* sequence : scheduler_.running()) {
      SimulatedChoice& choice = *live_.at(sequence);
      const SimulatedRequest& request = requests_[choice.request];
      if (request.num_drafts == 0 || sequence->num_pending_tokens > 0) continue;
      sequence->drafts.clear();
      propose_drafts(choice);
      if (sequence->is_prefilling()) continue;
      drafting_.push_back(&choice);
      candidates_.push_back({.acceptance = &choice.acceptance,
                             .num_tokens = sequence->num_tokens(),
                             .most = static_cast<int64_t>(sequence->drafts.size()),
                             .num_idle = choice.num_idle});
    }
    if (options_.adaptive_drafts) choose_draft_counts();
  }

  // Pure functions of the tokens before them: so a seed repeats a run.
  void propose_drafts(SimulatedChoice& choice) const {
    const SimulatedRequest& request = requests_[choice.request];
    Drafts& drafts = choice.sequence.drafts;
    struct Node {
      int32_t draft;
      uint64_t digest;
    };
    std::vector<Node> path = {{-1, choice.digests.back()}};
    for (int i = 0; i < request.num_drafts; ++i) {
      const uint64_t random = extend_digest(path.back().digest ^ options_.seed, i);
      if (request.draft_trees && random / 100 % 3 == 0) path.resize(1 + random / 300 % path.size());
      const auto [parent, digest] = path.back();
      const bool is_right = random % 100 < static_cast<uint64_t>(request.draft_percent);
      int32_t token = choice.token_for(digest) + (is_right ? 0 : 1);
      while (request.draft_trees && drafts.find_child(parent, token) >= 0) ++token;
      drafts.tokens.push_back(token);
      if (request.draft_trees) drafts.parents.push_back(parent);
      path.push_back({i, extend_digest(digest, token)});
    }
  }

  void choose_draft_counts() {
    budget_.choose(scheduler_.cost(), next_step(scheduler_), candidates_);
    for (size_t i = 0; i < drafting_.size(); ++i) {
      drafting_[i]->sequence.drafts.keep_first(static_cast<size_t>(candidates_[i].count));
      drafting_[i]->num_idle = candidates_[i].count > 0 ? 0 : drafting_[i]->num_idle + 1;
    }
  }

  void append(SimulatedChoice& choice) {
    const SimulatedRequest& request = requests_[choice.request];
    for (size_t i = 0; i < choice.chosen.size(); ++i) {
      const int64_t length = choice.sequence.num_known_tokens() - static_cast<int64_t>(choice.chosen.size() - 1 - i);
      if (length == request.prompt_tokens + 1) {
        choice.first_ms = now_;
        if (choice.is_first) {
          result_.outcomes[choice.request].steps_until_first = model_.num_steps() - arrival_steps_[choice.request];
        }
      } else {
        result_.worst_decode_gap_ms = std::max(result_.worst_decode_gap_ms, now_ - choice.last_ms);
      }
      choice.last_ms = now_;
      if (options_.keep_token_times && choice.is_first) result_.outcomes[choice.request].token_ms.push_back(now_);
    }
    if (choice.sequence.num_known_tokens() == choice.stop_length) finish(choice, SimulatedOutcome::End::kFinished);
  }

  void finish(SimulatedChoice& choice, SimulatedOutcome::End end) {
    const SimulatedRequest& request = requests_[choice.request];
    SimulatedOutcome& outcome = result_.outcomes[choice.request];
    const int64_t generated = choice.sequence.num_known_tokens() - request.prompt_tokens;
    if (options_.check) verify_answer(choice);
    outcome.generated_tokens += generated;
    outcome.num_preemptions = std::max(outcome.num_preemptions, choice.sequence.num_preemptions);
    if (choice.is_first) {
      outcome.end = end;
      outcome.cached_tokens = choice.sequence.num_cached_tokens;
      outcome.e2e_ms = now_ - request.arrival_ms;
      outcome.ttft_ms = generated > 0 ? choice.first_ms - request.arrival_ms : 0.0;
      outcome.tpot_ms = generated > 1 ? (choice.last_ms - choice.first_ms) / static_cast<double>(generated - 1) : 0.0;
    }
    if (store_client_) store_client_->forget(choice.sequence);
    loop_.finish(&choice.sequence);
    live_.erase(&choice.sequence);
  }

  // One answer: the tokens depend on the prompt and the seed only.
  void verify_answer(const SimulatedChoice& choice) const {
    uint64_t digest = 0;
    for (int64_t i = 0; i < choice.sequence.num_known_tokens(); ++i) {
      const int32_t token = choice.sequence.tokens[static_cast<size_t>(i)];
      if (i >= choice.sequence.num_prompt_tokens && token != token_after(digest + choice.sequence.id)) {
        model_.fail_invariant(fmt::format("sequence {} got another token at {} than alone", choice.sequence.id, i));
      }
      digest = extend_digest(digest, token);
    }
  }

  void verify_idle() const {
    scheduler_.check();
    for (size_t g = 0; g < scheduler_.kv().num_groups(); ++g) {
      const int64_t num_active = scheduler_.kv().blocks(g).num_active();
      if (num_active != 0)
        model_.fail_invariant(fmt::format("{} blocks of group {} are held by nobody", num_active, g));
    }
  }

  const std::vector<SimulatedRequest>& requests_;
  const SimulationOptions& options_;
  Scheduler scheduler_;
  SimulatedModel::Choices live_;
  SimulatedModel model_;
  StepLoop loop_;
  StoredRecords records_;
  std::optional<KvStoreClient> store_client_;
  std::vector<int64_t> arrival_steps_;
  DraftBudget budget_;
  std::vector<SimulatedChoice*> drafting_;  // those that may have drafts in the next step
  std::vector<DraftCandidate> candidates_;  // of these
  SimulationResult result_;
  size_t next_ = 0;
  uint64_t next_id_ = 0;
  double now_ = 0.0;
};

}  // namespace

SimulationResult simulate(const std::vector<SimulatedRequest>& requests, const SimulationOptions& options) {
  return Simulation(requests, options).run();
}

std::string describe(const SimulationOptions& options) {
  const SchedulerOptions& scheduler = options.scheduler;
  std::string groups;
  for (const KvGroupOptions& group : scheduler.kv_groups) {
    groups += fmt::format("{}{} blocks with {} in swap space and window {}", groups.empty() ? "" : ", ",
                          group.num_blocks, group.num_host_blocks, group.window);
  }
  return fmt::format(
      "seed {}, blocks of {} ({}), {} batch tokens, {} sequences, {} branches, policy {}, first served {}, chunks {}, "
      "prefix caching {}, preemption {}, static batching {}, step target {} ms, RoPE switch at {}, {} steps in flight, "
      "adaptive drafts {}, store {}",
      options.seed, scheduler.block_size, groups, scheduler.max_batch_tokens, scheduler.max_sequences,
      scheduler.max_branches, static_cast<int>(scheduler.policy), static_cast<int>(scheduler.first_served),
      scheduler.chunked_prefill, scheduler.prefix_caching, static_cast<int>(scheduler.preemption),
      static_cast<int>(scheduler.static_batching), scheduler.target_step_ms, scheduler.rope_switch_length,
      options.max_steps_in_flight, options.adaptive_drafts,
      options.store
          ? fmt::format("after {} polls, failing {}", options.store->polls_until_done, options.store->share_failing)
          : "none");
}

}  // namespace quire
