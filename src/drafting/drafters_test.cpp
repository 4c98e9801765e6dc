// What holds for every drafter, in any company.
#include "drafting/drafters.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "drafting/test_decoding.h"

namespace quire {
namespace {

SpeculationOptions options_of(std::string_view method) {
  SpeculationOptions options;
  options.method = method;
  options.suffix_max_tokens = 3000;
  return options;
}

// A sequence whose tokens are its salt's alone, and the target's answer to it.
struct Client {
  TestSequence sequence;
  Tokens text;  // the prompt and the answer

  int32_t next(const Tokens& tokens) const {
    // On the text; a wrong draft is followed by some token of the same salt.
    const size_t place = tokens.size();
    if (place < text.size() && std::equal(tokens.begin(), tokens.end(), text.begin())) return text[place];
    return text[(static_cast<size_t>(tokens.back()) * 7 + place) % text.size()];
  }
};

Client make_client(std::mt19937& random, uint64_t id) {
  const auto salt = static_cast<int32_t>(random() % 3);
  Client client;
  client.text = repetitive_tokens(random, 40 + random() % 200, salt * 1000, 1 + static_cast<int32_t>(random() % 40));
  const size_t num_prompt_tokens = 1 + random() % 30;
  client.sequence =
      with_prompt(id, Tokens(client.text.begin(), client.text.begin() + static_cast<int64_t>(num_prompt_tokens)));
  client.sequence.salt = std::to_string(salt);
  return client;
}

class EveryDrafter : public testing::TestWithParam<std::string> {};

TEST_P(EveryDrafter, ProposesSoundDraftsAndForgetsWhatHasEnded) {
  std::mt19937 random(11);
  const auto drafter = make_drafter(options_of(GetParam()));
  const auto twin = make_drafter(options_of(GetParam()));
  std::vector<Client> clients;
  uint64_t next_id = 1;
  int64_t num_accepted = 0;
  for (int step = 0; step < 4000; ++step) {
    if (clients.size() < 6) clients.push_back(make_client(random, next_id++));
    const size_t chosen = random() % clients.size();
    TestSequence& sequence = clients[chosen].sequence;
    const Client& client = clients[chosen];
    sequence.max_drafts = 1 + static_cast<int>(random() % 20);
    sequence.min_drafts = static_cast<int>(random() % 3);
    const Drafts drafts = propose(*drafter, sequence);
    const Drafts same = propose(*twin, sequence);
    ASSERT_EQ(drafts.tokens, same.tokens);
    ASSERT_EQ(drafts.parents, same.parents);
    for (const int32_t token : drafts.tokens) ASSERT_EQ(token / 1000, client.text[0] / 1000) << "of another salt";
    // The engine verifies the first ones, or none.
    const size_t num_verified = random() % 4 == 0 ? random() % (drafts.size() + 1) : drafts.size();
    const auto target = [&client](const Tokens& tokens) { return client.next(tokens); };
    TestSequence copy = sequence;
    verify(*twin, target, copy, drafts, num_verified);
    verify(*drafter, target, sequence, drafts, num_verified);
    const auto common = static_cast<int64_t>(std::min(sequence.tokens.size(), client.text.size()));
    ASSERT_TRUE(std::equal(client.text.begin(), client.text.begin() + common, sequence.tokens.begin()));
    if (sequence.tokens.size() < client.text.size()) continue;
    num_accepted += sequence.num_accepted;
    finish(*drafter, sequence);
    finish(*twin, sequence);
    clients.erase(clients.begin() + static_cast<int64_t>(chosen));
  }
  EXPECT_GT(next_id, 20u);
  EXPECT_GT(num_accepted, 100);
  for (const Client& client : clients) finish(*drafter, client.sequence);
  // What is left are earlier answers.
  EXPECT_LE(drafter->memory_bytes(), 3000u * 256);
}

TEST_P(EveryDrafter, ASequenceOfOneTokenIsNoTrouble) {
  const auto drafter = make_drafter(options_of(GetParam()));
  TestSequence sequence = with_prompt(1, {3});
  sequence.max_drafts = 1;
  decode(
      *drafter, [](const Tokens&) { return 3; }, sequence, 20);
  finish(*drafter, sequence);
  finish(*drafter, with_prompt(2, {3}));  // one that never asked
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const DrafterKind& kind : drafter_kinds()) all.emplace_back(kind.name);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Drafters, EveryDrafter, testing::ValuesIn(names()),
                         [](const auto& kind) { return kind.param; });

TEST(Drafters, AnUnknownNameIsRefusedWithTheKnownOnes) {
  try {
    make_drafter({.method = "crystal_ball"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    for (const std::string& name : names()) EXPECT_NE(std::string(error.what()).find(name), std::string::npos);
  }
}

TEST(Drafters, NamesAreDistinct) {
  const std::vector<std::string> all = names();
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), all.size());
}

}  // namespace
}  // namespace quire
