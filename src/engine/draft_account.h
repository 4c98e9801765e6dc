// What drafting takes and whether it brings that back, as measured: the time of the drafter, that of whole steps with
// and without drafts, and an account of the time that drafts have won and lost. Predictions miss what they do not know
// of (caches that the drafter empties, the engine's work for each draft, acceptance that was guessed too high), but the
// account does not: drafts that lose time empty it, and then they may take what it is refilled with and no more.
//
// Owned by the draft budget, one for each size of a batch; pure arithmetic, no clock.
#pragma once

#include <cstdint>

#include "engine/cost_model.h"

namespace quire {

// A step that had no prompt rows.
struct DraftOutcome {
  StepShape shape;         // of the step
  StepShape plain;         // of the same without drafts: a row and a token for each sequence
  int64_t num_tokens = 0;  // that it chose
  double ms = 0.0;         // from asking the drafter until the step has settled
  double draft_ms = 0.0;   // of that: in the drafter; 0: it was not asked
  bool has_drafts = true;  // the drafter made some; if not, it may have computed a prompt, once for a whole answer
};

class DraftAccount {
 public:
  // The drafter took so long to draft `depth` tokens, at least 1, for the sequences of a step.
  void note_drafting(int64_t depth, double ms);
  bool knows_drafting() const { return drafting_.weight > 0.0; }
  double draft_ms(int64_t depth) const;

  void note_step(const CostModel& cost, const DraftOutcome& outcome);
  // A step without drafts, the work around it included, as measured where such steps follow one another: the first
  // after drafts finds other caches.
  double plain_ms(const CostModel& cost, const StepShape& shape) const;
  // How many times longer than predicted a step takes for which the drafter was asked, the work around it included.
  double drafted_factor() const { return drafted_.factor; }
  // Whether it is long since plain steps were measured.
  bool needs_plain() const { return num_unmeasured_ >= kPlainEvery; }
  // What drafts may lose in the next step, in plain steps.
  double balance() const { return balance_; }
  // Steps until they may lose something.
  int64_t num_forbidden() const;

 private:
  static constexpr int64_t kPlainEvery = 256;
  static constexpr double kMostBalance = 16.0;
  // Running means.
  struct Factor {
    double factor = 1.0;
    int64_t count = 0;
  };
  struct Plain {
    double rows = 0.0;
    double attended = 0.0;
    double ms = 0.0;
    int64_t count = 0;
  };
  // Sums of a line through the measured times over the depth, recent ones weighing most.
  struct Line {
    double weight = 0.0;
    double depth = 0.0;
    double depth_squared = 0.0;
    double ms = 0.0;
    double depth_ms = 0.0;
  };

  Line drafting_;
  Factor drafted_;
  Plain plain_;
  bool was_plain_ = false;
  int64_t num_unmeasured_ = kPlainEvery - 8;
  double balance_ = kMostBalance / 4;
};

}  // namespace quire
