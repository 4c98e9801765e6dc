// Guesses tokens between steps: sets the drafts of every sequence that may have some, from what its constraint is sure
// of, from the request's prediction or from the drafter, and tells the drafter what became of them.
//
// Owned by the engine; engine thread only.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "drafting/drafter.h"
#include "drafting/predicted_output.h"
#include "drafting/speculation_options.h"
#include "engine/choice.h"
#include "engine/draft_budget.h"
#include "engine/status_counter.h"
#include "engine/step_loop.h"

namespace quire {

class Speculation {
 public:
  struct Context {
    const Scheduler& scheduler;
    int64_t vocab_size = 0;
    std::function<double()> now_ms;
  };
  // Without `drafter` it is made from the options; without a method there, only constraints and predictions
  // give drafts.
  Speculation(SpeculationOptions options, std::unique_ptr<Drafter> drafter, Context context);

  // Before a choice runs first.
  void add(Choice& choice);
  // Before a step is planned.
  void propose(Choices& choices);
  // A step has settled; before its choices end.
  void settle(const StartedStep& step, const StepResults& results, StatusCounter& counter);
  // Whether StepResults::likeliest is read.
  bool reads_likeliest() const { return drafter_ != nullptr && drafter_->reads_likeliest(); }
  // The choice ends.
  DraftCounts finish(const Choice& choice);

 private:
  enum Source : uint8_t { kConstraint, kPrediction, kDrafter };
  static constexpr size_t kNumSources = 3;
  // Of a sequence that speculates.
  struct State {
    int max_drafts = 0;
    std::optional<PredictedOutput> prediction;
    std::string salt;
    Source source = kDrafter;  // of its present drafts
    std::array<AcceptanceEstimate, kNumSources> acceptance;
    Drafts drafts;              // its present ones
    std::vector<double> gains;  // of the nodes of its last tree, descending
    int64_t num_idle = 0;       // steps without drafts since it had some
    int64_t num_unasked = 0;    // steps since it awaited its tokens
    DraftCounts counts;
  };
  // A sequence that may have drafts in the next step.
  struct Turn {
    Sequence* sequence = nullptr;
    const Choice* choice = nullptr;
    State* state = nullptr;
  };

  int max_drafts_of(const GenerateRequest& request) const;
  State* state_of(const Choice& choice);
  void settle(const StepPlan::Item& item, std::span<const int32_t> likeliest, std::span<const int32_t> accepted);
  void observe(const StartedStep& step, const StepResults& results);
  void collect(Choices& choices);
  void collect(Sequence& sequence, const Choice& choice, State& state);
  static Source guess(Sequence& sequence, const Choice& choice, State& state, int64_t limit);
  void choose_counts(const DraftStep& step);
  template <typename Call>
  void call_drafter(const Call& call);
  void ask_drafter(int64_t num_sequences);
  void note_step(const StartedStep& step, const StepResults& results);
  void take_proposal(Turn& turn, DraftCandidate& candidate) const;
  static void keep_chosen(Turn& turn, const DraftCandidate& candidate);
  void keep_known(Drafts& drafts) const;
  static void keep_fitting(Drafts& drafts, TokenConstraint& constraint);
  static void wait_or_not(Sequence& sequence, State& state);
  HiddenUse hidden_use() const;
  void ask_for_hidden(Choices& choices);

  const SpeculationOptions options_;
  std::unique_ptr<Drafter> drafter_;  // null from the moment that it throws
  const Context context_;
  DraftBudget budget_;
  std::array<AcceptanceEstimate, kNumSources> typical_;  // of all sequences, by source
  double began_ms_ = 0.0;                                // the present or last call of propose(), and
  double draft_ms_ = 0.0;                                // what the drafter took in it, and
  bool has_proposal_ = false;                            // whether it made drafts
  HiddenUse hidden_use_ = HiddenUse::kNone;              // of the present step
  std::unordered_map<uint64_t, State> states_;           // by sequence id

  std::vector<HiddenRows> hidden_rows_;  // of the present call of settle()
  // Of the present call of propose():
  std::vector<Turn> turns_;
  std::vector<DraftCandidate> candidates_;  // by turn
  std::vector<DraftRequest> requests_;
};

}  // namespace quire
