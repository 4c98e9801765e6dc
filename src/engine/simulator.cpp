#include "engine/simulator.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <unordered_map>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

// What the cache holds for a position: a digest of every token up to it.
uint64_t extend_digest(uint64_t digest, int32_t token) {
  uint64_t x = digest + 0x9e3779b97f4a7c15u + static_cast<uint32_t>(token);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

int32_t token_after(uint64_t digest) { return static_cast<int32_t>(digest % 32000); }

struct Choice {
  Sequence sequence;
  size_t request = 0;
  std::vector<uint64_t> digests;  // of tokens[0 .. i]
  int32_t coming = 0;             // what kTokenToCome will turn out to be
  double first_ms = 0.0;
  double last_ms = 0.0;
  bool is_first = false;  // the choice whose times count
};

// What a step does for a choice.
struct Part {
  Choice* choice = nullptr;  // null: it has ended since
  bool samples = false;
  uint64_t seen = 0;  // what the model has read when it samples
};

// From its start to its end.
struct RunningStep {
  std::vector<Part> parts;
  StepShape shape;
  double ms = 0.0;
};

class Simulation {
 public:
  Simulation(const std::vector<SimulatedRequest>& requests, const SimulationOptions& options)
      : requests_(requests),
        options_(options),
        scheduler_(options.scheduler),
        cost_(options.cost),
        random_(options.seed),
        cache_(options.check ? options.scheduler.num_blocks * options.scheduler.block_size : 0),
        swap_(options.check ? options.scheduler.num_swap_slots * options.scheduler.block_size : 0),
        arrival_steps_(requests.size()) {
    result_.outcomes.resize(requests.size());
  }

  SimulationResult run() {
    while (next_ < requests_.size() || !live_.empty()) {
      if (live_.empty()) now_ = std::max(now_, requests_[next_].arrival_ms);
      admit();
      end_the_overdue();
      step();
    }
    if (options_.check) verify_idle();
    result_.duration_ms = now_;
    return std::move(result_);
  }

 private:
  [[noreturn]] void violated(const std::string& what) const {
    fail(ErrorCode::kCorrupt, "simulation: {} (step {}, {})", what, result_.num_steps, describe(options_));
  }

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
    auto choice = std::make_unique<Choice>();
    choice->request = index;
    choice->is_first = true;
    Sequence& sequence = choice->sequence;
    sequence.id = next_id_;
    next_id_ += static_cast<uint64_t>(request.num_choices);
    for (int64_t i = 0; i < request.prompt_tokens; ++i) {
      const uint64_t owner = i < request.shared_tokens ? static_cast<uint64_t>(request.group) : 1'000'000 + index;
      push(*choice, token_after(extend_digest(owner, static_cast<int32_t>(i))));
    }
    sequence.num_prompt_tokens = request.prompt_tokens;
    sequence.max_tokens = request.prompt_tokens + request.output_tokens;
    sequence.num_slots = request.num_choices;
    sequence.priority = request.priority;
    sequence.tenant = request.tenant;
    sequence.deadline_ms = request.timeout_ms > 0 ? request.arrival_ms + request.timeout_ms : 0.0;
    arrival_steps_[index] = result_.num_steps;
    scheduler_.add(&sequence);
    live_.emplace(&sequence, std::move(choice));
  }

  static void push(Choice& choice, int32_t token) {
    choice.digests.push_back(extend_digest(choice.digests.empty() ? 0 : choice.digests.back(), token));
    choice.sequence.tokens.push_back(token);
  }

  void end_the_overdue() {
    using End = SimulatedOutcome::End;
    std::vector<std::pair<Choice*, End>> ended;
    for (const auto& [sequence, choice] : live_) {
      const SimulatedRequest& request = requests_[choice->request];
      if (request.cancel_ms > 0 && now_ > request.arrival_ms + request.cancel_ms) {
        ended.emplace_back(choice.get(), End::kCancelled);
      } else if (sequence->deadline_ms > 0 && now_ > sequence->deadline_ms) {
        ended.emplace_back(choice.get(), End::kTimeout);
      }
    }
    // The map's order is not the same in two runs.
    std::sort(ended.begin(), ended.end(),
              [](const auto& a, const auto& b) { return a.first->sequence.id < b.first->sequence.id; });
    for (const auto& [choice, end] : ended) finish(*choice, end);
  }

  void step() {
    if (running_.parts.empty()) running_ = start_step();
    if (running_.parts.empty()) {
      if (!live_.empty()) violated(fmt::format("{} sequences wait and nobody runs", live_.size()));
      return;
    }
    scheduler_.commit();
    if (promise_tokens()) ahead_ = start_step();
    now_ += running_.ms;
    scheduler_.observe_step_ms(running_.shape, running_.ms);
    for (const Part& part : running_.parts) {
      if (part.choice != nullptr && part.samples) sample(*part.choice, part.seen);
    }
    running_ = std::exchange(ahead_, {});
    if (options_.check) scheduler_.check();
  }

  RunningStep start_step() {
    const StepPlan& plan = scheduler_.plan();
    if (options_.check) scheduler_.check();
    RunningStep step;
    if (plan.items.empty()) return step;
    ++result_.num_steps;
    result_.computed_tokens += plan.shape.rows;
    result_.num_preemptions += plan.num_preempted;
    result_.num_swaps += plan.num_swapped_out;
    if (options_.check) {
      carry_out(plan.moves);
      write_and_verify(plan);
    }
    for (const StepPlan::Item& item : plan.items) {
      Choice& choice = *live_.at(item.sequence);
      const int64_t last = item.sequence->num_tokens() - 1;
      // As a model would, from what the cache holds.
      const uint64_t seen = options_.check && item.samples ? cache_[slot(*item.sequence, last)] : choice.digests.back();
      step.parts.push_back({&choice, item.samples, seen});
    }
    step.shape = plan.shape;
    step.ms = cost_.predict_ms(plan.shape);
    if (options_.noise > 0) step.ms *= std::max(0.1, std::normal_distribution<double>(1.0, options_.noise)(random_));
    return step;
  }

  // As Engine::promise_tokens.
  bool promise_tokens() {
    constexpr uint64_t kHostEvery = 8;
    const auto forks = [](const Part& part) {
      return part.choice != nullptr && part.samples && part.choice->sequence.num_slots > 1;
    };
    if (!options_.run_ahead || std::ranges::any_of(running_.parts, forks) || random_() % kHostEvery == 0) return false;
    for (const Part& part : running_.parts) {
      if (part.choice == nullptr || !part.samples) continue;
      Choice& choice = *part.choice;
      choice.coming = token_for(choice, part.seen);
      choice.digests.push_back(extend_digest(choice.digests.back(), choice.coming));
      choice.sequence.tokens.push_back(kTokenToCome);
      if (choice.sequence.num_tokens() == choice.sequence.max_tokens) scheduler_.finish(&choice.sequence);
    }
    return true;
  }

  // Choices of one request differ in their seeds.
  static int32_t token_for(const Choice& choice, uint64_t seen) { return token_after(seen + choice.sequence.id); }

  void carry_out(const std::vector<StepPlan::Move>& moves) {
    using enum StepPlan::Move::Kind;
    const int64_t size = options_.scheduler.block_size;
    for (const StepPlan::Move& move : moves) {
      const uint64_t* from = (move.kind == kSwapIn ? swap_ : cache_).data() + move.from * size;
      std::copy_n(from, size, (move.kind == kSwapOut ? swap_ : cache_).data() + move.to * size);
    }
  }

  void write_and_verify(const StepPlan& plan) {
    if (plan.shape.rows > options_.scheduler.max_batch_tokens) violated("the step is larger than its budget");
    for (const StepPlan::Item& item : plan.items) {
      const Sequence& sequence = *item.sequence;
      for (int64_t p = sequence.num_computed_tokens; p < sequence.num_computed_tokens + item.num_tokens; ++p) {
        const uint64_t before = p > 0 ? cache_[slot(sequence, p - 1)] : 0;
        const int32_t token = sequence.tokens[static_cast<size_t>(p)];
        const int32_t known = token == kTokenToCome ? live_.at(item.sequence)->coming : token;
        cache_[slot(sequence, p)] = extend_digest(before, known);
      }
    }
    // After all writes: one sequence must not have overwritten another's.
    for (const StepPlan::Item& item : plan.items) {
      const Choice& choice = *live_.at(item.sequence);
      const Sequence& sequence = *item.sequence;
      const int64_t end = sequence.num_computed_tokens + item.num_tokens;
      // Long contexts by sample: every step looks at other positions.
      const int64_t stride = std::max<int64_t>(1, end / 64);
      for (int64_t p = static_cast<int64_t>(random_() % static_cast<uint64_t>(stride)); p < end; p += stride) {
        if (cache_[slot(sequence, p)] != choice.digests[static_cast<size_t>(p)]) {
          violated(fmt::format("sequence {} reads at position {} what it did not write", sequence.id, p));
        }
      }
    }
  }

  size_t slot(const Sequence& sequence, int64_t position) const {
    const int64_t size = options_.scheduler.block_size;
    return static_cast<size_t>(sequence.blocks[static_cast<size_t>(position / size)] * size + position % size);
  }

  void sample(Choice& choice, uint64_t seen) {
    const SimulatedRequest& request = requests_[choice.request];
    while (choice.sequence.num_slots > 1) {
      auto child = std::make_unique<Choice>();
      child->request = choice.request;
      child->digests = choice.digests;
      child->sequence.id = choice.sequence.id + static_cast<uint64_t>(choice.sequence.num_slots) - 1;
      scheduler_.fork(&choice.sequence, &child->sequence);
      Choice& added = *live_.emplace(&child->sequence, std::move(child)).first->second;
      append(added, request, seen);
    }
    append(choice, request, seen);
  }

  void append(Choice& choice, const SimulatedRequest& request, uint64_t seen) {
    if (choice.sequence.tokens.back() == kTokenToCome) {
      choice.sequence.tokens.pop_back();
      choice.digests.pop_back();
    }
    push(choice, token_for(choice, seen));
    const bool is_first_token = choice.sequence.num_tokens() == request.prompt_tokens + 1;
    if (is_first_token) choice.first_ms = now_;
    if (!is_first_token) {
      result_.worst_decode_gap_ms = std::max(result_.worst_decode_gap_ms, now_ - choice.last_ms);
    }
    choice.last_ms = now_;
    if (options_.keep_token_times && choice.is_first) {
      result_.outcomes[choice.request].token_ms.push_back(now_);
    }
    if (is_first_token && choice.is_first) {
      result_.outcomes[choice.request].steps_until_first = result_.num_steps - arrival_steps_[choice.request];
    }
    const bool is_stopped = choice.sequence.num_tokens() == request.prompt_tokens + request.stop_after;
    if (is_stopped || choice.sequence.num_tokens() == choice.sequence.max_tokens) {
      finish(choice, SimulatedOutcome::End::kFinished);
    }
  }

  void finish(Choice& choice, SimulatedOutcome::End end) {
    const SimulatedRequest& request = requests_[choice.request];
    SimulatedOutcome& outcome = result_.outcomes[choice.request];
    const int64_t generated = choice.sequence.num_tokens() - request.prompt_tokens;
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
    for (RunningStep* step : {&running_, &ahead_}) {
      for (Part& part : step->parts) {
        if (part.choice == &choice) part.choice = nullptr;
      }
    }
    scheduler_.finish(&choice.sequence);
    live_.erase(&choice.sequence);
  }

  // One answer: the tokens follow from the prompt and the seed alone.
  void verify_answer(const Choice& choice) const {
    uint64_t digest = 0;
    for (int64_t i = 0; i < choice.sequence.num_tokens(); ++i) {
      const int32_t token = choice.sequence.tokens[static_cast<size_t>(i)];
      if (i >= choice.sequence.num_prompt_tokens && token != token_after(digest + choice.sequence.id)) {
        violated(fmt::format("sequence {} got another token at {} than alone", choice.sequence.id, i));
      }
      digest = extend_digest(digest, token);
    }
  }

  void verify_idle() const {
    scheduler_.check();
    if (scheduler_.blocks().num_active() != 0) {
      violated(fmt::format("{} blocks are held by nobody", scheduler_.blocks().num_active()));
    }
  }

  const std::vector<SimulatedRequest>& requests_;
  const SimulationOptions& options_;
  Scheduler scheduler_;
  CostModel cost_;
  std::mt19937_64 random_;
  std::vector<uint64_t> cache_;
  std::vector<uint64_t> swap_;
  std::vector<int64_t> arrival_steps_;
  std::unordered_map<const Sequence*, std::unique_ptr<Choice>> live_;
  RunningStep running_;  // between steps: the one that was started ahead
  RunningStep ahead_;    // started while running_ was
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
  return fmt::format(
      "seed {}, {} blocks of {}, {} swap slots, {} batch tokens, {} sequences, policy {}, first served {}, chunks {}, "
      "prefix caching {}, preemption {}, static batching {}, step target {} ms, run ahead {}",
      options.seed, scheduler.num_blocks, scheduler.block_size, scheduler.num_swap_slots, scheduler.max_batch_tokens,
      scheduler.max_sequences, static_cast<int>(scheduler.policy), static_cast<int>(scheduler.first_served),
      scheduler.chunked_prefill, scheduler.prefix_caching, static_cast<int>(scheduler.preemption),
      static_cast<int>(scheduler.static_batching), scheduler.target_step_ms, options.run_ahead);
}

}  // namespace quire
