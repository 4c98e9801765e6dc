// Every interleaving of arrivals, steps and cancellations of a few requests over a few blocks, up to states that look
// alike to the scheduler: whatever can go wrong with so little is found.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>

#include "engine/scheduler.h"

namespace quire {
namespace {

constexpr int64_t kBlock = 2;

struct SmallRequest {
  int64_t num_prompt;
  int64_t num_output;
  int num_slots = 1;
  int32_t first_token = 0;  // equal ones share their prefix
  int32_t priority = 0;
  int64_t num_known_output = 0;  // what the scheduler expects: more where an end token comes before; 0: the same
};

struct Scope {
  SchedulerOptions scheduler;
  std::vector<SmallRequest> requests;
  bool run_ahead = false;  // a step is planned while the one before it runs
  int num_cancellations = 2;
};

// One path of actions, replayed from the start: 's' steps, 'a' lets the next request arrive, '0'.. cancels one.
class World {
 public:
  explicit World(const Scope& scope) : scope_(scope), scheduler_(scope.scheduler) {}

  // False when the action is not possible here.
  bool act(char action) {
    if (action == 'a') return arrive();
    if (action == 's') return step();
    return cancel(static_cast<size_t>(action - '0'));
  }

  // What the scheduler's future depends on.
  std::string state() const {
    std::string out;
    const auto add = [&](int64_t value) { out += std::to_string(value) + ","; };
    add(static_cast<int64_t>(next_));
    add(cancelled_);
    for (const auto& sequence : sequences_) {
      add(static_cast<int64_t>(sequence->id));
      add(static_cast<int64_t>(sequence->state));
      if (sequence->state == SequenceState::kFinished) continue;
      add(sequence->num_tokens());
      add(sequence->num_computed_tokens);
      add(sequence->num_slots);
      add(std::min<int64_t>(sequence->num_preemptions, 3));
      for (const int32_t block : sequence->blocks) add(block);
      out += '/';
      for (const int32_t slot : sequence->swap_slots) add(slot);
      out += ';';
    }
    for (const StepPlan::Item& item : running_) {
      add(item.sequence == nullptr ? -1 : static_cast<int64_t>(item.sequence->id));
      add(item.num_tokens);
      add(item.samples ? 1 : 0);
    }
    for (int32_t block = 0; block < scheduler_.blocks().num_total(); ++block) {
      add(static_cast<int64_t>(scheduler_.blocks().state(block)));
    }
    return out;
  }

  bool is_over() const { return next_ == scope_.requests.size() && !has_work() && running_.empty(); }
  const Scheduler& scheduler() const { return scheduler_; }

 private:
  bool arrive() {
    if (next_ == scope_.requests.size()) return false;
    const SmallRequest& request = scope_.requests[next_];
    auto sequence = std::make_unique<Sequence>();
    sequence->id = next_ * 10;
    for (int64_t i = 0; i < request.num_prompt; ++i) {
      sequence->tokens.push_back(request.first_token * 100 + static_cast<int32_t>(i));
    }
    sequence->num_prompt_tokens = request.num_prompt;
    sequence->max_tokens = request.num_prompt + std::max(request.num_output, request.num_known_output);
    sequence->num_slots = request.num_slots;
    sequence->priority = request.priority;
    scheduler_.add(sequence.get());
    sequences_.push_back(std::move(sequence));
    ++next_;
    scheduler_.check();
    return true;
  }

  bool has_work() const { return scheduler_.num_running() + scheduler_.num_waiting() > 0; }

  bool step() {
    if (running_.empty()) {
      const bool had_work = has_work();
      running_ = start_step();
      EXPECT_EQ(!running_.empty(), had_work) << "somebody must advance while anybody waits";
    }
    if (running_.empty()) return false;
    scheduler_.commit();
    if (promise_tokens()) ahead_ = start_step();
    for (size_t i = 0; i < running_.size(); ++i) {
      if (running_[i].sequence != nullptr && running_[i].samples) sample(running_[i].sequence);
    }
    running_ = std::exchange(ahead_, {});
    scheduler_.check();
    return true;
  }

  std::vector<StepPlan::Item> start_step() {
    const StepPlan& plan = scheduler_.plan();
    scheduler_.check();
    verify_writes(plan);
    return plan.items;
  }

  // A step that forks is waited for.
  bool promise_tokens() {
    const auto forks = [](const StepPlan::Item& item) {
      return item.sequence != nullptr && item.samples && item.sequence->num_slots > 1;
    };
    if (!scope_.run_ahead || std::ranges::any_of(running_, forks)) return false;
    for (const StepPlan::Item& item : running_) {
      if (item.sequence == nullptr || !item.samples) continue;
      item.sequence->tokens.push_back(kTokenToCome);
      if (item.sequence->num_tokens() == item.sequence->max_tokens) scheduler_.finish(item.sequence);
    }
    return true;
  }

  // No two sequences write one slot, and nobody writes a block that another holds.
  void verify_writes(const StepPlan& plan) const {
    std::set<int64_t> written;
    for (const StepPlan::Item& item : plan.items) {
      const Sequence& sequence = *item.sequence;
      for (int64_t p = sequence.num_computed_tokens; p < sequence.num_computed_tokens + item.num_tokens; ++p) {
        const int32_t block = sequence.blocks[static_cast<size_t>(p / kBlock)];
        EXPECT_TRUE(written.insert(block * kBlock + p % kBlock).second);
        EXPECT_FALSE(scheduler_.blocks().is_shared(block));
      }
    }
  }

  void sample(Sequence* sequence) {
    while (sequence->num_slots > 1) {
      auto child = std::make_unique<Sequence>();
      child->id = sequence->id + static_cast<uint64_t>(sequence->num_slots) - 1;
      scheduler_.fork(sequence, child.get());
      append(child.get());
      sequences_.push_back(std::move(child));
    }
    append(sequence);
  }

  void append(Sequence* sequence) {
    const SmallRequest& request = scope_.requests[sequence->id / 10];
    if (sequence->tokens.back() == kTokenToCome) sequence->tokens.pop_back();
    sequence->tokens.push_back(static_cast<int32_t>(1000 + sequence->id));
    if (sequence->num_tokens() == request.num_prompt + request.num_output) finish(sequence);
  }

  void finish(Sequence* sequence) {
    for (std::vector<StepPlan::Item>* items : {&running_, &ahead_}) {
      for (StepPlan::Item& item : *items) {
        if (item.sequence == sequence) item.sequence = nullptr;
      }
    }
    scheduler_.finish(sequence);
  }

  bool cancel(size_t index) {
    if (index >= sequences_.size() || cancelled_ == scope_.num_cancellations) return false;
    if (sequences_[index]->state == SequenceState::kFinished) return false;
    ++cancelled_;
    finish(sequences_[index].get());
    scheduler_.check();
    return true;
  }

  const Scope& scope_;
  Scheduler scheduler_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
  std::vector<StepPlan::Item> running_;  // of the step that runs; who has ended is null
  std::vector<StepPlan::Item> ahead_;    // of one that was started meanwhile
  size_t next_ = 0;
  int cancelled_ = 0;
};

// Returns the number of states.
size_t explore(const Scope& scope) {
  std::unordered_set<std::string> seen;
  std::deque<std::string> paths = {""};
  bool reached_the_end = false;
  while (!paths.empty() && !testing::Test::HasFailure()) {
    const std::string path = std::move(paths.front());
    paths.pop_front();
    for (const char action : std::string("sa012345")) {
      World world(scope);
      for (const char done : path) world.act(done);
      if (!world.act(action)) continue;
      if (world.is_over()) {
        reached_the_end = true;
        EXPECT_EQ(world.scheduler().blocks().num_active(), 0) << path << action;
      }
      EXPECT_LT(path.size(), 60u) << "no end is reached: " << path;
      if (seen.insert(world.state()).second) paths.push_back(path + action);
      if (testing::Test::HasFailure()) ADD_FAILURE() << "after " << path << action;
    }
  }
  EXPECT_TRUE(reached_the_end);
  return seen.size();
}

SchedulerOptions tiny(int64_t num_blocks) {
  SchedulerOptions options;
  options.block_size = kBlock;
  options.num_blocks = num_blocks;
  options.max_batch_tokens = 4;
  options.max_sequences = 3;
  return options;
}

// The numbers of states only show that the search went on; they may change with the rules.
const std::vector<SmallRequest> kMixed = {{3, 6}, {2, 7}, {1, 5}, {4, 4}};

TEST(SmallScope, PreemptionByRecompute) {
  EXPECT_GT(explore({tiny(5), kMixed}), 1000u);
  EXPECT_GT(explore({tiny(6), kMixed}), 1000u);
}

TEST(SmallScope, PreemptionBySwap) {
  SchedulerOptions options = tiny(5);
  options.preemption = Preemption::kSwap;
  options.num_swap_slots = 3;
  EXPECT_GT(explore({options, kMixed}), 1000u);
}

TEST(SmallScope, SharedPrefixesUnderShortage) {
  EXPECT_GT(explore({tiny(6), {{5, 5}, {5, 3}, {3, 5, 1, 1}, {5, 3}}}), 400u);
}

TEST(SmallScope, ForksCopyOnWrite) {
  SchedulerOptions options = tiny(6);
  options.prefix_caching = false;
  const std::vector<SmallRequest> forking = {{3, 4, 2}, {2, 4}, {3, 3, 2}};
  EXPECT_GT(explore({options, forking}), 400u);
  options.preemption = Preemption::kSwap;
  options.num_swap_slots = 4;
  EXPECT_GT(explore({options, forking}), 400u);
}

TEST(SmallScope, PrioritiesTakeSlots) {
  SchedulerOptions options = tiny(5);
  options.policy = SchedulingPolicy::kPriority;
  options.max_sequences = 2;
  EXPECT_GT(explore({options, {{3, 3, 1, 0, 2}, {2, 3, 1, 0, 1}, {3, 3, 2, 1, 0}, {2, 2, 1, 0, 0}}}), 1000u);
}

// Steps planned while those before them run, of sequences that turn out to have ended.
TEST(SmallScope, RunningAhead) {
  const std::vector<SmallRequest> ending = {{3, 4, 1, 0, 0, 6}, {2, 7}, {1, 2, 1, 0, 0, 5}, {4, 4}};
  EXPECT_GT(explore({tiny(5), ending, true}), 1000u);
  SchedulerOptions swapping = tiny(5);
  swapping.preemption = Preemption::kSwap;
  swapping.num_swap_slots = 3;
  EXPECT_GT(explore({swapping, ending, true}), 1000u);
  EXPECT_GT(explore({tiny(6), {{5, 3, 1, 0, 0, 5}, {5, 3}, {3, 5, 1, 1}, {5, 3}}, true}), 400u);
}

TEST(SmallScope, RunningAheadOfForksAndPriorities) {
  SchedulerOptions options = tiny(6);
  options.policy = SchedulingPolicy::kPriority;
  EXPECT_GT(explore({options, {{3, 4, 2, 0, 1}, {2, 2, 1, 0, 2, 4}, {3, 3, 2, 0, 0}}, true}), 400u);
}

}  // namespace
}  // namespace quire
