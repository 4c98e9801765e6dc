#include "drafting/auto.h"

#include <gtest/gtest.h>

#include "drafting/test_decoding.h"

namespace quire {
namespace {

// Proposes one token for the sequences that it knows.
class OneToken : public Drafter {
 public:
  OneToken(int32_t token, std::vector<uint64_t> known) : token_(token), known_(std::move(known)) {}

  void propose(std::span<DraftRequest> requests) override {
    for (DraftRequest& request : requests) {
      asked.push_back(request.sequence);
      if (std::find(known_.begin(), known_.end(), request.sequence) == known_.end()) continue;
      request.drafts->tokens.push_back(token_);
    }
  }
  void settle(const VerifiedDrafts& verified) override { settled.push_back(verified.sequence); }
  void finish(uint64_t sequence, std::span<const int32_t>, int64_t, std::string_view) override {
    finished.push_back(sequence);
  }
  size_t memory_bytes() const override { return 1000; }

  std::vector<uint64_t> asked, settled, finished;

 private:
  int32_t token_;
  std::vector<uint64_t> known_;
};

class Auto : public testing::Test {
 protected:
  void combine(std::vector<uint64_t> known_to_first, std::vector<uint64_t> known_to_second) {
    auto one = std::make_unique<OneToken>(1, std::move(known_to_first));
    auto two = std::make_unique<OneToken>(2, std::move(known_to_second));
    first_ = one.get();
    second_ = two.get();
    std::vector<std::unique_ptr<Drafter>> drafters;
    drafters.push_back(std::move(one));
    drafters.push_back(std::move(two));
    combined_ = combine_drafters(std::move(drafters));
  }

  OneToken* first_ = nullptr;
  OneToken* second_ = nullptr;
  std::unique_ptr<Drafter> combined_;
};

TEST_F(Auto, TheNextOneIsAskedForWhatHasNoDrafts) {
  combine({10, 12}, {10, 11});
  std::vector<Drafts> drafts(4);
  std::vector<DraftRequest> requests;
  const Tokens tokens = {5};
  for (uint64_t i = 0; i < 4; ++i) {
    requests.push_back({.sequence = 10 + i, .tokens = tokens, .max_drafts = 4, .drafts = &drafts[i]});
  }
  combined_->propose(requests);
  EXPECT_EQ(drafts[0].tokens, Tokens{1});
  EXPECT_EQ(drafts[1].tokens, Tokens{2});
  EXPECT_EQ(drafts[2].tokens, Tokens{1});
  EXPECT_TRUE(drafts[3].empty());
  EXPECT_EQ(second_->asked, (std::vector<uint64_t>{11, 13}));
  for (const uint64_t id : {10, 11, 12}) combined_->settle({.sequence = id, .num_verified = 1, .num_accepted = 1});
  EXPECT_EQ(first_->settled, (std::vector<uint64_t>{10, 12}));
  EXPECT_EQ(second_->settled, (std::vector<uint64_t>{11}));
}

TEST_F(Auto, EachSequencePrefersWhatItAccepted) {
  combine({1, 2}, {1, 2});
  TestSequence likes_one = with_prompt(1, {5});
  TestSequence likes_two = with_prompt(2, {5});
  decode(
      *combined_, [](const Tokens&) { return 1; }, likes_one, 50);
  decode(
      *combined_, [](const Tokens&) { return 2; }, likes_two, 50);
  EXPECT_EQ(propose(*combined_, likes_one).tokens, Tokens{1});
  EXPECT_EQ(propose(*combined_, likes_two).tokens, Tokens{2});
  EXPECT_LE(likes_one.num_steps, 35);
  EXPECT_LE(likes_two.num_steps, 35);
}

TEST_F(Auto, ADrafterThatFailedIsTriedAgain) {
  combine({1}, {1});
  TestSequence sequence = with_prompt(1, {5});
  decode(
      *combined_, [](const Tokens&) { return 2; }, sequence, 100);
  EXPECT_EQ(propose(*combined_, sequence).tokens, Tokens{2});
  decode(
      *combined_, [](const Tokens&) { return 1; }, sequence, 100);
  EXPECT_EQ(propose(*combined_, sequence).tokens, Tokens{1});
}

TEST_F(Auto, AllAreToldOfTheEnd) {
  combine({1}, {});
  const TestSequence sequence = with_prompt(1, {5});
  propose(*combined_, sequence);
  const size_t bytes = combined_->memory_bytes();
  finish(*combined_, sequence);
  EXPECT_EQ(first_->finished, std::vector<uint64_t>{1});
  EXPECT_EQ(second_->finished, std::vector<uint64_t>{1});
  EXPECT_GT(bytes, 2000u);
  EXPECT_EQ(combined_->memory_bytes(), 2000u);
}

TEST(AutoDrafter, FallsThroughToEarlierAnswers) {
  const auto drafter = make_auto_drafter({});
  TestSequence first = with_prompt(1, {7, 8, 9});
  first.tokens.insert(first.tokens.end(), {1, 2, 3, 4});
  finish(*drafter, first);
  const TestSequence second = with_prompt(2, {7, 8, 9});
  EXPECT_EQ(propose(*drafter, second).tokens, (Tokens{1, 2, 3, 4}));
  const TestSequence copying = with_prompt(3, {1, 2, 3, 60, 1, 2, 3});
  EXPECT_EQ(propose(*drafter, copying).tokens[0], 60);
}

}  // namespace
}  // namespace quire
