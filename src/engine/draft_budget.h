// How many drafts the sequences of a step may have: as many as raise the tokens that the step is expected to give per
// millisecond (Leviathan et al., arXiv 2211.17192, section 3, for a batch whose steps cost what the cost model says).
// So a step that is bound by reading the weights gets many, and one of a loaded server none. Drafts that turn out to
// lose time, whatever was expected of them, are stopped by an account (draft_account.h).
//
// Owned by the engine's speculation; pure arithmetic, no clock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/cost_model.h"
#include "engine/draft_account.h"

namespace quire {

// How often drafts held of late, by their position after the root.
class AcceptanceEstimate {
 public:
  // Remembers about this many of the last steps. `rate`: before any was seen.
  explicit AcceptanceEstimate(float memory = 12.0f, float rate = 0.6f) : memory_(memory) {
    for (Position& position : positions_) position.rate = rate;
  }
  // Of a sequence of which nothing is known but what holds for `others`.
  static AcceptanceEstimate like(const AcceptanceEstimate& others);

  // Whether a draft at this position held, when those before it did; 0 <= position. observe_drafts() (draft_gains.h)
  // tells what a step says of each.
  void observe_at(int64_t position, bool holds);
  // That a draft holds when all before it do; 0 <= position.
  double probability(int64_t position) const;

 private:
  static constexpr int64_t kPositions = 16;  // those that follow are like the last
  struct Position {
    float rate = 0.0f;
    float weight = 2.0f;  // steps that the rate stands for
  };
  std::array<Position, kPositions> positions_;
  float memory_;
};

// A sequence that may have drafts in the next step.
struct DraftCandidate {
  const AcceptanceEstimate* acceptance = nullptr;
  int64_t num_tokens = 0;
  int64_t most = 0;      // drafts
  int64_t num_idle = 0;  // steps since it had some
  int64_t count = 0;     // the result
  // Of a tree: the probability that its n-th likeliest node holds; those beyond are ever less likely. Empty: a chain.
  std::span<const double> gains = {};
  bool is_all_or_none = false;  // the result is 0 or `most`
};

// The step that drafts would be added to.
struct DraftStep {
  StepShape decodes;       // its decoding sequences
  StepShape prompts;       // its other rows
  double max_ms = 0.0;     // that it may take; 0: any time
  int64_t max_drafts = 0;  // of all sequences
  // The drafts are not made yet: the time of the drafter counts too.
  bool is_before_drafting = false;
  bool has_ready_drafts = false;  // all the same some candidates have theirs: a prediction, what a form is sure of
};

class Scheduler;

// The step that the scheduler will plan next, before it has drafts.
DraftStep next_step(const Scheduler& scheduler);

class DraftBudget {
 public:
  // Steps after a choice that found nothing in which none is made, where drafts could pay.
  static constexpr int64_t kMostResting = 8;

  // Whether to choose before the drafter is asked: it takes a share of such a step that counts, for `depth` drafts, or
  // drafts have lost time of late, or nothing is known yet. Otherwise to choose among the drafts that it has made.
  bool is_before_drafting(const CostModel& cost, const DraftStep& step, int64_t depth) const;
  // Sets DraftCandidate::count of all. Beyond the counts that pay, a draft now and then finds out whether acceptance
  // has changed; such drafts take less than a hundredth of the time.
  void choose(const CostModel& cost, const DraftStep& step, std::span<DraftCandidate> candidates);

  // For so many steps choose() will have no drafts made; for kMostResting at most, should other sequences decode.
  int64_t num_resting() const { return num_resting_; }

  // The drafter took so long to draft `depth` tokens for a step of so many sequences.
  void note_drafting(int64_t num_sequences, int64_t depth, double ms);
  // A step has settled.
  void note_step(const CostModel& cost, const DraftOutcome& outcome);

 private:
  struct Plan;
  class Planner;
  static constexpr size_t kNumAccounts = 20;

  static size_t account_of(int64_t num_sequences);
  // What is known of the drafter at the nearest size of a batch; that of the size itself where nothing is.
  const DraftAccount& drafting_at(size_t account) const;
  // Of a probe.
  struct Probe {
    bool is_added = false;
    int64_t num_steps = 0;  // until one can be paid for, where that is why there is none
  };
  Probe add_probe(const Planner& planner, const Plan& chosen, std::span<DraftCandidate> candidates);

  // For a batch of one sequence, of two, of three and four, of five to eight ...
  std::array<DraftAccount, kNumAccounts> accounts_;
  double probe_ms_ = 0.0;   // that probes may take now, and
  int64_t num_unpaid_ = 0;  // choices since they were given some
  size_t first_probe_ = 0;  // of candidates that have waited equally long: they take turns
  int64_t num_probes_ = 0;
  int64_t num_fruitless_ = 0;  // choices in a row that found nothing, and
  int64_t num_resting_ = 0;    // steps for which that holds: choosing takes time too
  int64_t last_sequences_ = 0;
};

}  // namespace quire
