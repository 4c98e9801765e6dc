#include "engine/kv_store_client.h"

#include <gtest/gtest.h>

#include "engine/simulated_store.h"
#include "engine/test_harness.h"

namespace quire::test {
namespace {

// A group that sees everything and one with a window.
SchedulerOptions server_options(int64_t num_blocks = 64) {
  return {.block_size = kBlock,
          .kv_groups = {{.num_blocks = num_blocks, .num_host_blocks = 8},
                        {.window = 6, .num_blocks = num_blocks, .num_host_blocks = 8}},
          .max_batch_tokens = 16,
          .max_sequences = 4,
          .hash_key = {.low = 1, .high = 2}};
}

// A server with a store: the harness and its client.
struct Server {
  Server(StoredRecords& records, const SchedulerOptions& options, SimulatedStore::Faults faults = {})
      : harness(options) {
    auto made = std::make_unique<SimulatedStore>(records, faults);
    store = made.get();
    client = std::make_unique<KvStoreClient>(
        std::move(made), harness.scheduler.kv(), harness.scheduler.cost(),
        KvStoreClient::Options{
            .now_ms = [this] { return now_ms; },
            .parts =
                [this](int group, int32_t block) {
                  auto& slots = harness.cache[static_cast<size_t>(group)];
                  const std::span all(slots);
                  const std::span half = all.subspan(block * kBlock, kBlock / 2);
                  const std::span rest = all.subspan(block * kBlock + kBlock / 2, kBlock / 2);
                  return KvStoreClient::Parts{std::as_writable_bytes(half), std::as_writable_bytes(rest)};
                }});
  }

  Sequence* add(const Harness::NewSequence& wanted) {
    Sequence* sequence = harness.add(wanted);
    client->want(*sequence);
    return sequence;
  }
  void step() {
    client->advance();
    harness.step();
  }
  void end(Sequence* sequence) {
    client->forget(*sequence);
    harness.loop.finish(sequence);
  }
  bool has_work() const { return harness.scheduler.num_waiting() + harness.scheduler.num_running() > 0; }
  void run() {
    for (int i = 0; i < 10'000 && has_work(); ++i) step();
    EXPECT_FALSE(has_work());
    for (int i = 0; i < 100; ++i) step();  // what is left is written
  }

  double now_ms = 0;
  Harness harness;
  SimulatedStore* store = nullptr;
  std::unique_ptr<KvStoreClient> client;
};

constexpr Harness::NewSequence kLong{.num_prompt = 40, .max_length = 44, .num_shared = 40};

TEST(KvStoreClient, AfterARestartAPrefixIsFetchedAndReadAsItWasWritten) {
  StoredRecords records;
  {
    Server first(records, server_options());
    first.add(kLong);
    first.run();
    EXPECT_EQ(records.size(), 2u * 10);
  }
  Server second(records, server_options(), {.polls_until_done = 2, .in_random_order = true});
  const Sequence* sequence = second.add(kLong);
  EXPECT_TRUE(second.client->is_fetching());
  second.run();  // the harness compares what every position holds
  EXPECT_EQ(sequence->num_cached_tokens, 36);
  EXPECT_EQ(second.client->statistics().num_fetched_tokens, 36);
  EXPECT_EQ(second.store->num_reads, 9 + 2) << "of the window only what the next token sees";
}

TEST(KvStoreClient, WhatThePoolHasIsNotFetched) {
  StoredRecords records;
  Server server(records, server_options());
  server.add(kLong);
  server.run();
  const Sequence* again = server.add(kLong);
  EXPECT_FALSE(server.client->is_fetching());
  server.run();
  EXPECT_EQ(again->num_cached_tokens, 36);
  EXPECT_EQ(server.store->num_reads, 0);
}

TEST(KvStoreClient, OtherSaltsAndOtherTokensFindNothing) {
  StoredRecords records;
  {
    Server first(records, server_options());
    first.add(kLong);
    first.run();
  }
  Server second(records, server_options());
  const Sequence* salted = second.add({.num_prompt = 40, .max_length = 44, .num_shared = 40, .salt = "other"});
  const Sequence* other = second.add({.num_prompt = 40, .max_length = 44, .num_shared = 3});
  second.run();
  EXPECT_EQ(salted->num_cached_tokens, 0);
  EXPECT_EQ(other->num_cached_tokens, 0);
}

TEST(KvStoreClient, OthersRunWhileASequenceFetchesAndAHungStoreIsGivenUp) {
  StoredRecords records;
  {
    Server first(records, server_options());
    first.add(kLong);
    first.run();
  }
  Server second(records, server_options());
  second.store->is_hung = true;
  const Sequence* fetching = second.add(kLong);
  Sequence* other = second.add({.num_prompt = 3, .max_length = 5});
  for (int i = 0; i < 4; ++i) second.step();
  EXPECT_EQ(other->state, SequenceState::kFinished);
  EXPECT_EQ(fetching->state, SequenceState::kWaiting);
  second.now_ms = 1e6;
  second.step();
  EXPECT_EQ(fetching->state, SequenceState::kRunning);
  EXPECT_EQ(fetching->num_cached_tokens, 0);
  EXPECT_EQ(second.client->statistics().num_cut, 1);
  second.store->is_hung = false;
  second.run();
}

TEST(KvStoreClient, ReadsThatFailLeaveWhatCameBeforeThem) {
  SchedulerOptions options = server_options();
  options.kv_groups.resize(1);
  StoredRecords records;
  PrefixHash sixth;
  {
    Server first(records, options);
    Sequence* sequence = first.add(kLong);
    first.run();
    sixth = first.harness.scheduler.kv().hashes(*sequence, 6)[6];
  }
  records.at({sixth.low, 0}).parent.high ^= 1;  // it is another's
  for (const bool in_random_order : {false, true}) {
    StoredRecords damaged = records;  // the server writes the block again
    Server second(damaged, options, {.polls_until_done = 1, .in_random_order = in_random_order});
    const Sequence* sequence = second.add(kLong);
    second.run();
    EXPECT_EQ(sequence->num_cached_tokens, 5 * kBlock);
  }
  Server third(records, options, {.polls_until_done = 1, .in_random_order = true, .share_failing = 0.3});
  third.add(kLong);
  third.run();
}

TEST(KvStoreClient, AFetchKeepsThePrefixThatItContinues) {
  SchedulerOptions options = server_options(16);
  options.kv_groups.resize(1);
  StoredRecords records;
  {
    Server first(records, options);
    first.add(kLong);
    first.run();
  }
  Server second(records, options, {.polls_until_done = 3});
  second.add({.num_prompt = 17, .max_length = 18, .num_shared = 17});
  second.run();
  second.add({.num_prompt = 40, .max_length = 41});  // every block has been used, and the prefix longest ago
  second.run();
  const Sequence* sequence = second.add(kLong);
  second.run();
  EXPECT_EQ(sequence->num_cached_tokens, 36);
}

TEST(KvStoreClient, ASequenceMayEndWhileItsBlocksAreRead) {
  StoredRecords records;
  {
    Server first(records, server_options());
    first.add(kLong);
    first.run();
  }
  for (int steps = 0; steps < 6; ++steps) {
    Server second(records, server_options(), {.polls_until_done = 2});
    Sequence* sequence = second.add(kLong);
    for (int i = 0; i < steps; ++i) second.step();
    second.end(sequence);
    EXPECT_FALSE(second.client->is_fetching());
    for (int i = 0; i < 5; ++i) second.step();
    EXPECT_EQ(second.harness.scheduler.blocks(0).num_active(), 0) << "after " << steps << " steps";
  }
}

TEST(KvStoreClient, AFetchLeavesBlocksToThoseThatRun) {
  StoredRecords records;
  {
    Server first(records, server_options());
    first.add(kLong);
    first.run();
  }
  Server second(records, server_options(12));
  Sequence* running = second.add({.num_prompt = 12, .max_length = 16});
  second.step();
  ASSERT_EQ(running->state, SequenceState::kRunning);
  const Sequence* fetching = second.add(kLong);
  second.run();
  EXPECT_EQ(fetching->num_cached_tokens, 0) << "nine blocks would have left none";
  EXPECT_EQ(running->num_preemptions, 0);
}

// Restarts, random arrivals, ends in any state, pools that are too small, slow and faulty stores: the harness compares
// every position that is read, and the scheduler counts every block.
TEST(KvStoreClient, Swarm) {
  std::mt19937_64 random(11);
  const auto below = [&random](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  StoredRecords records;
  int64_t num_fetched = 0;
  int64_t num_cut = 0;
  for (int round = 0; round < 60; ++round) {
    Server server(records, server_options(16 + below(60)),
                  {.polls_until_done = static_cast<int>(below(4)),
                   .in_random_order = true,
                   .share_failing = below(3) == 0 ? 0.2 : 0.0});
    std::vector<Sequence*> all;
    for (int i = 0; i < 120; ++i) {
      if (below(3) == 0) {
        const int64_t prompt = 1 + below(50);
        all.push_back(server.add({.num_prompt = prompt,
                                  .max_length = prompt + 1 + below(8),
                                  .num_choices = below(8) == 0 ? 2 : 1,
                                  .num_shared = below(prompt + 1),
                                  .salt = below(4) == 0 ? "salt" : "",
                                  .shares_cache = below(8) != 0}));
      }
      if (!all.empty() && below(12) == 0) {
        Sequence* sequence = all[static_cast<size_t>(below(std::ssize(all)))];
        if (sequence->state != SequenceState::kFinished) server.end(sequence);
      }
      server.now_ms += below(40) == 0 ? 100.0 : 0.05;
      server.store->is_hung = below(20) == 0;
      server.step();
    }
    server.store->is_hung = false;
    server.now_ms += 1e6;
    server.run();
    num_fetched += server.client->statistics().num_fetched_tokens;
    num_cut += server.client->statistics().num_cut;
    for (size_t g = 0; g < 2; ++g) EXPECT_EQ(server.harness.scheduler.blocks(g).num_active(), 0);
  }
  EXPECT_GT(num_fetched, 1000);
  EXPECT_GT(num_cut, 0);
}

}  // namespace
}  // namespace quire::test
