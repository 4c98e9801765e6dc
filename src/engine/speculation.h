// Guesses tokens between steps: sets the drafts of every sequence that may have some, from the request's prediction or
// from the drafter, and tells the drafter what became of them.
//
// Owned by the engine; engine thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "drafting/drafter.h"
#include "drafting/predicted_output.h"
#include "drafting/speculation_options.h"
#include "engine/choice.h"
#include "engine/status_counter.h"
#include "engine/step_loop.h"

namespace quire {

class Speculation {
 public:
  // Without `drafter` it is made from the options; without a method there, only predictions give drafts.
  Speculation(SpeculationOptions options, std::unique_ptr<Drafter> drafter, const Scheduler& scheduler,
              int64_t vocab_size);

  // Before a choice runs first.
  void add(Choice& choice);
  // Before a step is planned.
  void propose(Choices& choices);
  // A step has settled; before its choices end.
  void settle(const StartedStep& step, const StepResults& results, StatusCounter& counter);
  // The choice ends.
  DraftCounts finish(const Choice& choice);

 private:
  // Of a sequence that speculates.
  struct State {
    int max_drafts = 0;
    std::optional<PredictedOutput> prediction;
    std::string salt;
    bool is_drafters = false;  // its present drafts are the drafter's
    DraftCounts counts;
  };

  int max_drafts_of(const GenerateRequest& request) const;
  State* state_of(const Choice& choice);
  bool may_have_drafts(const Sequence& sequence) const;
  int64_t limit_of(const Sequence& sequence, const State& state) const;
  void take_prediction(Sequence& sequence, State& state, int64_t limit) const;
  void ask_drafter();
  void cut(Drafts& drafts, int64_t limit) const;

  const SpeculationOptions options_;
  const std::unique_ptr<Drafter> drafter_;
  const Scheduler& scheduler_;
  const int64_t vocab_size_;
  std::unordered_map<uint64_t, State> states_;  // by sequence id
  std::vector<DraftRequest> requests_;          // of the present call
};

}  // namespace quire
