#include "engine/draft_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace quire {
namespace {

// Two cores and a model of 1.1 billion weights: a step of up to four rows is bound by reading the weights.
const CostModel kTwoCores({15.7, 0.8, 3.8, 3.8, 4.3, 4.3, 0.0, 0.0});
// A device on which many rows cost as much as one.
const CostModel kDevice({5.0, 0.001, 0.001, 0.001, 0.001, 0.05, 0.0, 0.0});

// Of a chain the first ones held.
void observe(AcceptanceEstimate& estimate, int64_t num_verified, int64_t num_accepted) {
  for (int64_t i = 0; i < std::min(num_verified, num_accepted + 1); ++i) estimate.observe_at(i, i < num_accepted);
}

AcceptanceEstimate taught(double rate, int num_steps = 200) {
  AcceptanceEstimate estimate;
  std::mt19937 random(1);
  std::bernoulli_distribution holds(rate);
  for (int i = 0; i < num_steps; ++i) {
    int64_t accepted = 0;
    while (accepted < 5 && holds(random)) ++accepted;
    observe(estimate, 5, accepted);
  }
  return estimate;
}

struct Batch {
  explicit Batch(size_t count, const AcceptanceEstimate& estimate, int64_t most = 5) : acceptance(count, estimate) {
    for (const AcceptanceEstimate& each : acceptance) candidates.push_back({&each, 300, most});
    const auto n = static_cast<int64_t>(count);
    step.decodes = {n, n, 300.0 * static_cast<double>(n)};
    step.max_drafts = 400;
  }
  int64_t total() const {
    int64_t sum = 0;
    for (const DraftCandidate& candidate : candidates) sum += candidate.count;
    return sum;
  }
  void choose(const CostModel& cost) { budget.choose(cost, step, candidates); }

  std::vector<AcceptanceEstimate> acceptance;
  std::vector<DraftCandidate> candidates;
  DraftStep step;
  DraftBudget budget;
};

TEST(AcceptanceEstimate, FollowsTheLastSteps) {
  AcceptanceEstimate estimate = taught(0.9);
  EXPECT_GT(estimate.probability(0), 0.75);
  EXPECT_GT(estimate.probability(40), 0.5);
  for (int i = 0; i < 30; ++i) observe(estimate, 5, 1);
  EXPECT_GT(estimate.probability(0), 0.95);
  EXPECT_LT(estimate.probability(1), 0.1);
  const double third = estimate.probability(2);
  for (int i = 0; i < 30; ++i) observe(estimate, 2, 2);
  EXPECT_GT(estimate.probability(1), 0.9);
  EXPECT_EQ(estimate.probability(2), third) << "nothing was learned of what no step verified";
}

TEST(DraftBudget, OneSequenceGetsWhatTheWeightsHideAndMoreWhenDraftsHold) {
  Batch good(1, taught(0.95));
  good.choose(kTwoCores);
  EXPECT_EQ(good.total(), 5);
  Batch fair(1, taught(0.4));
  fair.choose(kTwoCores);
  EXPECT_GE(fair.total(), 1);
  EXPECT_LE(fair.total(), 3);
  Batch device(1, taught(0.4));
  device.choose(kDevice);
  EXPECT_GE(device.total(), 4);
}

// At 16 sequences a row costs 4.3 ms and a token of plain decoding 4.0 ms: no draft can pay.
TEST(DraftBudget, ALoadedServerDraftsNothing) {
  Batch batch(16, taught(1.0));
  for (int step = 0; step < 1000; ++step) {
    batch.choose(kTwoCores);
    ASSERT_EQ(batch.total(), 0);
  }
  batch.choose(kDevice);
  EXPECT_EQ(batch.total(), 80);
}

TEST(DraftBudget, DraftsGoWhereTheyHold) {
  Batch batch(3, taught(0.1));
  batch.acceptance[1] = taught(0.95);
  batch.choose(kTwoCores);
  EXPECT_GE(batch.candidates[1].count, 1);
  EXPECT_EQ(batch.candidates[0].count + batch.candidates[2].count, 0);
}

// Hopeless sequences are tried now and then, in turns; that takes at most a hundredth of the time.
TEST(DraftBudget, DraftsThatPayTogetherAreAllVerifiedOrNone) {
  // A token in two steps, however many drafts.
  AcceptanceEstimate sometimes;
  for (int i = 0; i < 200; ++i) observe(sometimes, 15, i % 2);
  const auto make = [&sometimes](bool is_all_or_none) {
    Batch batch(4, sometimes, 15);
    for (DraftCandidate& candidate : batch.candidates) candidate.is_all_or_none = is_all_or_none;
    return batch;
  };
  Batch single = make(false);
  single.choose(kDevice);
  EXPECT_LE(single.total(), 8);
  Batch device = make(true);
  device.choose(kDevice);
  EXPECT_EQ(device.total(), 60);
  device.step.max_drafts = 59;
  device.choose(kDevice);
  EXPECT_EQ(device.total(), 45);
  Batch cores = make(true);
  for (int i = 0; i < 100; ++i) {
    cores.choose(kTwoCores);
    EXPECT_EQ(cores.total(), 0) << "15 rows cost more than half a token is worth";
  }
}

TEST(DraftBudget, ProbesAreCheapAndReachEverySequence) {
  AcceptanceEstimate hopeless;
  for (int i = 0; i < 200; ++i) observe(hopeless, 5, 0);
  Batch batch(3, hopeless);
  double plain_ms = 0.0;
  double ms = 0.0;
  std::vector<int> num_probes(3, 0);
  for (int step = 0; step < 3000; ++step) {
    batch.choose(kTwoCores);
    StepShape shape = batch.step.decodes;
    plain_ms += kTwoCores.predict_ms(shape);
    shape.rows += batch.total();
    shape.sequences += batch.total();
    ms += kTwoCores.predict_ms(shape);
    for (size_t i = 0; i < 3; ++i) {
      DraftCandidate& candidate = batch.candidates[i];
      num_probes[i] += static_cast<int>(candidate.count);
      candidate.num_idle = candidate.count > 0 ? 0 : candidate.num_idle + 1;
    }
  }
  EXPECT_LT(ms, 1.011 * plain_ms);
  for (const int probes : num_probes) EXPECT_GT(probes, 10);
}

TEST(DraftBudget, DraftingThatTakesTimeMustPayToo) {
  Batch batch(1, taught(0.8));
  batch.choose(kDevice);
  EXPECT_EQ(batch.total(), 5);
  batch.step.is_before_drafting = true;
  const auto teach = [&batch](double ms_per_token) {
    for (int i = 0; i < 200; ++i) batch.budget.note_drafting(1, 1 + i % 5, ms_per_token * (1 + i % 5));
  };
  teach(1.0);
  batch.choose(kDevice);
  EXPECT_GE(batch.total(), 2);
  EXPECT_LE(batch.total(), 4);
  teach(6.0);
  batch.choose(kDevice);
  EXPECT_EQ(batch.total(), 0) << "drafting a token takes longer than a step";
}

TEST(DraftBudget, KeepsTheTargetTimeAndTheRoomOfAStep) {
  Batch batch(2, taught(0.95));
  batch.step.max_ms = kTwoCores.predict_ms(batch.step.decodes) + 2.0;
  batch.choose(kTwoCores);
  EXPECT_EQ(batch.total(), 2);
  batch.step.max_ms = 1.0;
  batch.choose(kTwoCores);
  EXPECT_EQ(batch.total(), 0);
  batch.step.max_ms = 0.0;
  batch.step.max_drafts = 3;
  batch.choose(kDevice);
  EXPECT_LE(batch.total(), 4) << "and one probe at most";
}

// What steps and drafts really take, on a clock that only the simulation moves.
struct Machine {
  CostModel cost;               // of a step
  double draft_ms = 0.0;        // of a call of the drafter
  double draft_token_ms = 0.0;  // of a further token in it
  double hidden_ms = 0.0;       // what a step takes longer after the drafter ran, which no model knows
};

struct Traffic {
  int64_t num_sequences = 1;
  int64_t answer_tokens = 100;  // after which another sequence comes, of which nothing is known
  double acceptance = 0.5;
};

struct Simulated {
  double speed = 0.0;     // the tokens per millisecond, of those of plain decoding
  double is_awake = 0.0;  // the share of steps after which the drafter may be asked soon
};

Simulated simulate(const Machine& machine, const Traffic& traffic, int num_steps, uint32_t seed) {
  std::mt19937 random(seed);
  std::bernoulli_distribution holds(traffic.acceptance);
  CostModel learned;
  DraftBudget budget;
  AcceptanceEstimate typical(100.0f);
  struct Answer {
    AcceptanceEstimate acceptance;
    int64_t num_tokens = 0;
    int64_t num_idle = 0;
  };
  std::vector<Answer> answers(static_cast<size_t>(traffic.num_sequences));
  for (size_t i = 0; i < answers.size(); ++i) answers[i].num_tokens = std::ssize(answers) * 7 % traffic.answer_tokens;
  double ms = 0.0;
  double plain_ms = 0.0;
  int num_awake = 0;
  for (int step = 0; step < num_steps; ++step) {
    DraftStep next;
    next.max_drafts = 400;
    std::vector<DraftCandidate> candidates;
    for (const Answer& answer : answers) {
      candidates.push_back(
          {.acceptance = &answer.acceptance, .num_tokens = answer.num_tokens, .most = 10, .num_idle = answer.num_idle});
      ++next.decodes.rows;
      ++next.decodes.sequences;
      next.decodes.attended += static_cast<double>(answer.num_tokens);
    }
    next.is_before_drafting = budget.is_before_drafting(learned, next, 10);
    if (next.is_before_drafting) {
      budget.choose(learned, next, candidates);
    } else {
      for (DraftCandidate& candidate : candidates) candidate.count = candidate.most;
    }
    DraftOutcome outcome;
    int64_t depth = 0;
    for (const DraftCandidate& candidate : candidates) depth = std::max(depth, candidate.count);
    if (depth > 0) {
      outcome.draft_ms = machine.draft_ms + machine.draft_token_ms * static_cast<double>(depth);
      budget.note_drafting(traffic.num_sequences, depth, outcome.draft_ms);
    }
    if (!next.is_before_drafting) budget.choose(learned, next, candidates);
    StepShape shape = next.decodes;
    for (size_t i = 0; i < answers.size(); ++i) {
      Answer& answer = answers[i];
      const int64_t count = candidates[i].count;
      int64_t num_accepted = 0;
      while (num_accepted < count && holds(random)) ++num_accepted;
      observe(answer.acceptance, count, num_accepted);
      observe(typical, count, num_accepted);
      answer.num_idle = count > 0 ? 0 : answer.num_idle + 1;
      answer.num_tokens += 1 + num_accepted;
      if (answer.num_tokens >= traffic.answer_tokens) answer = {AcceptanceEstimate::like(typical)};
      shape.rows += count;
      shape.sequences += count;
      shape.attended += static_cast<double>(count * answer.num_tokens);
      outcome.num_tokens += 1 + num_accepted;
    }
    const double step_ms = machine.cost.predict_ms(shape) + (outcome.draft_ms > 0.0 ? machine.hidden_ms : 0.0);
    learned.observe(shape, step_ms);
    outcome.ms = outcome.draft_ms + step_ms;
    outcome.shape = shape;
    outcome.plain = next.decodes;
    budget.note_step(learned, outcome);
    num_awake += budget.num_resting() <= DraftBudget::kMostResting ? 1 : 0;
    ms += outcome.ms;
    // The same tokens, one of each sequence in a step.
    plain_ms += machine.cost.predict_ms(next.decodes) * static_cast<double>(outcome.num_tokens) /
                static_cast<double>(traffic.num_sequences);
  }
  return {.speed = plain_ms / ms, .is_awake = static_cast<double>(num_awake) / num_steps};
}

// With the best fixed number of drafts for every sequence, known beforehand.
double best_speed(const Machine& machine, const Traffic& traffic) {
  const auto n = static_cast<double>(traffic.num_sequences);
  const StepShape plain = {traffic.num_sequences, traffic.num_sequences, n * 50.0};
  double best = 1.0;
  double tokens = 1.0;
  double gain = 1.0;
  for (int64_t count = 1; count <= 10; ++count) {
    gain *= traffic.acceptance;
    tokens += gain;
    const auto times = static_cast<double>(1 + count);
    const StepShape shape = {plain.rows * (1 + count), plain.sequences * (1 + count), plain.attended * times};
    const double ms = machine.cost.predict_ms(shape) + machine.hidden_ms + machine.draft_ms +
                      machine.draft_token_ms * static_cast<double>(count);
    best = std::max(best, tokens * machine.cost.predict_ms(plain) / ms);
  }
  return best;
}

// Drafters from free ones to such that take longer than the step, drafts that never hold and that always do, few
// sequences and many, costs that nobody knows of: the result is never slower than plain decoding by more than what
// finding out takes, and near the best where there is much to win.
TEST(DraftBudget, IsNeverSlowerThanPlainDecodingWhateverDraftsCostAndBring) {
  constexpr int kSteps = 1500;
  uint32_t seed = 0;
  for (const CostModel& cost : {kTwoCores, kDevice}) {
    for (const int64_t num_sequences : {1, 4, 16}) {
      const double plain_ms = cost.predict_ms({num_sequences, num_sequences, 0.0});
      for (const double draft_share : {0.0, 0.005, 0.1, 0.6, 1.5}) {
        for (const double token_part : {0.0, 1.0}) {
          if (draft_share < 0.1 && token_part > 0.0) continue;
          for (const double hidden_share : {0.0, 0.3}) {
            if (draft_share <= 0.0 && hidden_share > 0.0) continue;
            for (const double acceptance : {0.0, 0.6, 0.9}) {
              const double draft_ms = draft_share * plain_ms;
              const Machine machine{.cost = cost,
                                    .draft_ms = (1.0 - token_part) * draft_ms,
                                    .draft_token_ms = token_part * draft_ms,
                                    .hidden_ms = hidden_share * plain_ms};
              const Traffic traffic{.num_sequences = num_sequences, .acceptance = acceptance};
              const double speed = simulate(machine, traffic, kSteps, ++seed).speed;
              const double best = best_speed(machine, traffic);
              const auto what = [&] {
                return ::testing::Message()
                       << num_sequences << " sequences, drafting takes " << draft_share << " (by token " << token_part
                       << "), unknown " << hidden_share << ", acceptance " << acceptance << ": best " << best;
              };
              EXPECT_GE(speed, 0.98) << what();
              if (best > 1.6) {
                EXPECT_GE(speed, 1.0 + 0.5 * (best - 1.0)) << what();
              }
            }
          }
        }
      }
    }
  }
}

// What the drafter reads of the target is not even computed while drafts cannot pay.
TEST(DraftBudget, HopelessDraftsLetTheDrafterRest) {
  const double plain_ms = kTwoCores.predict_ms({4, 4, 0.0});
  const Machine slow{.cost = kTwoCores, .draft_ms = 1.5 * plain_ms};
  EXPECT_LT(simulate(slow, {.num_sequences = 4, .answer_tokens = 400, .acceptance = 0.0}, 3000, 1).is_awake, 0.5);
  const Machine quick{.cost = kDevice, .draft_ms = 0.1};
  EXPECT_GT(simulate(quick, {.num_sequences = 4, .acceptance = 0.9}, 3000, 1).is_awake, 0.99);
}

// A step with a prompt is long, but its drafts are not cheaper for that.
TEST(DraftBudget, PromptsDoNotMakeDraftsLookCheap) {
  Batch batch(8, taught(0.6));
  batch.choose(kTwoCores);
  const int64_t alone = batch.total();
  batch.step.prompts = {300, 0, 300.0 * 150.0};
  batch.choose(kTwoCores);
  EXPECT_LE(batch.total(), alone + 1);
}

TEST(DraftBudget, IsModestUntilStepsWereSeen) {
  Batch one(1, AcceptanceEstimate());
  one.choose(CostModel());
  EXPECT_GE(one.total(), 1);
  Batch many(16, AcceptanceEstimate());
  many.choose(CostModel());
  EXPECT_LE(many.total(), 1);
}

}  // namespace
}  // namespace quire
