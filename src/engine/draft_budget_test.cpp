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

AcceptanceEstimate taught(double rate, int num_steps = 200) {
  AcceptanceEstimate estimate;
  std::mt19937 random(1);
  std::bernoulli_distribution holds(rate);
  for (int i = 0; i < num_steps; ++i) {
    int64_t accepted = 0;
    while (accepted < 5 && holds(random)) ++accepted;
    estimate.observe(5, accepted);
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
  for (int i = 0; i < 30; ++i) estimate.observe(5, 1);
  EXPECT_GT(estimate.probability(0), 0.95);
  EXPECT_LT(estimate.probability(1), 0.1);
  const double third = estimate.probability(2);
  for (int i = 0; i < 30; ++i) estimate.observe(2, 2);
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
  for (int i = 0; i < 200; ++i) sometimes.observe(15, i % 2);
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
  for (int i = 0; i < 200; ++i) hopeless.observe(5, 0);
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
  std::vector<double> ms(6);
  for (size_t d = 0; d < ms.size(); ++d) ms[d] = 1.0 * static_cast<double>(d);
  batch.step.draft_ms = ms;
  batch.choose(kDevice);
  EXPECT_GE(batch.total(), 2);
  EXPECT_LE(batch.total(), 4);
  for (double& each : ms) each *= 6.0;
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
