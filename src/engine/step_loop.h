// The step loop: plan, begin, start; then finish, settle. It connects a scheduler with the executor of its plans: a
// model and its samplers when serving, a cost model in the simulator, a model of the cache in tests.
//
// Several steps may be in flight: started, but not settled yet. They settle in the order in which they were started.
// Engine thread only.
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "engine/scheduler.h"

namespace quire {

// The results of a step. The executor owns the tokens and the children.
struct StepResults {
  // A choice that is forked when the prompt of item `parent` has been computed: it shares the blocks and has its own
  // first token.
  struct Fork {
    size_t parent = 0;
    Sequence* child = nullptr;
    int32_t token = 0;
  };
  // By item: the tokens that it chose, as Scheduler::settle takes them. Valid until the executor's next call.
  std::vector<std::span<const int32_t>> tokens;
  std::vector<Fork> forks;  // all further choices of a parent, which itself must have a token
  // What a drafter reads, where it asked for it; no entries, or one for each item. Valid as long as the tokens.
  struct HiddenStates {
    int64_t num_rows = 0;  // of the item's last rows; drafts that hold come before the others
    std::span<const float> values = {};
  };
  std::vector<HiddenStates> hidden;
  // The likeliest tokens after the sequence's last token and after each of the item's drafts.
  std::vector<std::span<const int32_t>> likeliest;
  double step_ms = 0.0;  // the time of the step since the end of the previous one
};

class Executor {
 public:
  virtual ~Executor() = default;
  // Moves blocks, in order, after all steps that were started and before the next one.
  virtual void move(std::span<const StepPlan::Move> moves) = 0;
  // All moves up to the returned mark are complete. Moves of a slow tier may take longer than the steps that follow.
  virtual uint64_t completed_moves() const = 0;
  // Starts a step of at least one item. Reads the tokens and drafts of its sequences now: the positions from
  // sequence->num_known_tokens() on, except those of drafts, hold tokens that steps in flight choose.
  virtual void start(std::span<const StepPlan::Item> items) = 0;
  // Whether another step may be started before the last one is finished.
  virtual bool may_start_ahead() const = 0;
  // Waits for the oldest step in flight. `items` are those that start() got, but the sequences that have been finished
  // since are null and need no results. `results` is cleared; results.tokens has one entry per item.
  virtual void finish(std::span<const StepPlan::Item> items, StepResults& results) = 0;
};

// A step that was started; the one that step() returns has also settled.
struct StartedStep {
  std::vector<StepPlan::Item> items;  // the sequence is null when it was finished since
  StepShape shape;
};

class StepLoop {
 public:
  StepLoop(Scheduler& scheduler, Executor& executor, int max_in_flight)
      : scheduler_(scheduler), executor_(executor), max_in_flight_(max_in_flight) {}

  // Starts as many steps as may be in flight and settles the oldest; null when no sequence can run. The step and its
  // results(), valid until the next call, tell the caller which sequences to finish.
  const StartedStep* step();
  const StepResults& results() const { return results_; }
  // Ends a sequence in any state and removes it from the steps in flight.
  void finish(Sequence* sequence);
  const std::deque<StartedStep>& in_flight() const { return in_flight_; }  // oldest first

  // After step() threw: forgets the steps in flight and returns the sequences whose K and V may be wrong; the caller
  // must finish them. The executor must have forgotten its steps too.
  std::vector<Sequence*> abandon();

 private:
  bool start();

  Scheduler& scheduler_;
  Executor& executor_;
  const int max_in_flight_;
  std::deque<StartedStep> in_flight_;
  StartedStep settled_;
  StepResults results_;
  bool is_planning_ = false;  // from the start of planning until the moves before the step have been made
};

}  // namespace quire
