// The step loop: plan, begin, start; finish, settle. The one place where a scheduler meets what carries its plans out:
// a model and its samplers when serving, a cost model in the simulator, a model of the cache in tests.
//
// Several steps may be in flight: started and not yet settled. They settle in the order in which they were started.
// Engine thread only.
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "engine/scheduler.h"

namespace quire {

// What came of a step. The tokens and children stay the executor's.
struct StepResults {
  // A choice that begins where the prompt of item `parent` has ended, with the same blocks and a token of its own.
  struct Fork {
    size_t parent = 0;
    Sequence* child = nullptr;
    int32_t token = 0;
  };
  // By item: the tokens that it chose, as Scheduler::settle takes them. They are read before the executor's next call.
  std::vector<std::span<const int32_t>> tokens;
  std::vector<Fork> forks;  // all choices of a parent, which itself has a token
  double step_ms = 0.0;     // what the step took, beyond the one before it
};

class Executor {
 public:
  virtual ~Executor() = default;
  // Carries out what goes before the next step, in order, after all steps that were started.
  virtual void move(std::span<const StepPlan::Move> moves) = 0;
  // All moves up to this mark are complete. A tier that is far away may take longer than the steps that follow.
  virtual uint64_t completed_moves() const = 0;
  // Starts a step of at least one item. Tokens and drafts of its sequences are read now: positions from
  // sequence->num_known_tokens() on, drafts apart, hold tokens that steps in flight choose.
  virtual void start(std::span<const StepPlan::Item> items) = 0;
  // Whether another step may be started before the last one is finished.
  virtual bool may_start_ahead() const = 0;
  // Waits for the step that was started first. `items` are those it was started with; sequences that have been finished
  // since are null, and nothing is wanted for them. `results` comes cleared, with room for each item's tokens.
  virtual void finish(std::span<const StepPlan::Item> items, StepResults& results) = 0;
};

// A step that was started, and when step() returns it, settled.
struct StartedStep {
  std::vector<StepPlan::Item> items;  // whose sequence was finished since is null
  StepShape shape;
};

class StepLoop {
 public:
  StepLoop(Scheduler& scheduler, Executor& executor, int max_in_flight)
      : scheduler_(scheduler), executor_(executor), max_in_flight_(max_in_flight) {}

  // Starts as many steps as may be in flight and settles the first; null when there is nobody to run. What it gives is
  // valid until the next call, its results in results(). The caller finishes the sequences that have ended by it.
  const StartedStep* step();
  const StepResults& results() const { return results_; }
  // Ends a sequence in any state; steps in flight forget it.
  void finish(Sequence* sequence);
  const std::deque<StartedStep>& in_flight() const { return in_flight_; }  // oldest first

  // After step() threw: forgets the steps in flight and gives the sequences whose K and V are in doubt, for the caller
  // to finish. The executor must have forgotten its steps too.
  std::vector<Sequence*> abandon();

 private:
  bool start();

  Scheduler& scheduler_;
  Executor& executor_;
  const int max_in_flight_;
  std::deque<StartedStep> in_flight_;
  StartedStep settled_;
  StepResults results_;
  bool is_planning_ = false;  // until what goes before the step has been carried out
};

}  // namespace quire
