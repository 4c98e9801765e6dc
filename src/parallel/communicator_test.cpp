#include "parallel/communicator.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <random>
#include <stdexcept>
#include <thread>

#include "parallel/rank_threads.h"
#include "parallel/thread_communicator.h"

namespace quire {
namespace {

// Numbers whose sum depends on the order.
std::vector<float> numbers(int64_t count, int rank, int round) {
  std::mt19937 random(static_cast<uint32_t>(1000 * rank + round));
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    const float size = random() % 2 == 0 ? 1e4f : 1e-3f;
    value = size * (static_cast<float>(random() % 2001) / 1000.0f - 1.0f);
  }
  return values;
}

std::vector<float> sum_in_order(int64_t count, int size, int round) {
  std::vector<float> sum = numbers(count, 0, round);
  for (int rank = 1; rank < size; ++rank) {
    const std::vector<float> part = numbers(count, rank, round);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
  }
  return sum;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(SingleCommunicator, SumsOfOneRankChangeNothing) {
  Communicator& single = single_communicator();
  EXPECT_EQ(single.rank(), 0);
  EXPECT_EQ(single.size(), 1);
  float x[] = {1.0f, 2.0f};
  single.all_reduce_sum(x, 2, nullptr);
  EXPECT_EQ(x[0], 1.0f);
  EXPECT_EQ(x[1], 2.0f);
}

class ThreadCommunicatorTest : public testing::TestWithParam<int> {};

TEST_P(ThreadCommunicatorTest, SumsInTheOrderOfRanks) {
  const int size = GetParam();
  const Communicators ranks = make_thread_communicators(size);
  RankThreads threads(size);
  for (int round = 0; round < 30; ++round) {
    for (const int64_t count : {1, 7, 15, 16, 17, 33, 500, 4097}) {
      std::vector<std::vector<float>> x(static_cast<size_t>(size));
      threads.run([&](int rank) {
        x[static_cast<size_t>(rank)] = numbers(count, rank, round);
        ranks[static_cast<size_t>(rank)]->all_reduce_sum(x[static_cast<size_t>(rank)].data(), count, nullptr);
      });
      const std::vector<float> expected = sum_in_order(count, size, round);
      for (const std::vector<float>& sum : x) ASSERT_TRUE(same_bits(sum, expected)) << count << " in round " << round;
    }
  }
}

// Many calls, with some ranks later than others, so that ranks both spin and sleep.
TEST_P(ThreadCommunicatorTest, ManyRoundsOfRanksThatComeLate) {
  const int size = GetParam();
  const Communicators ranks = make_thread_communicators(size);
  RankThreads(size).run([&](int rank) {
    float x = 0.0f;
    for (int round = 0; round < 2000; ++round) {
      if (round % 100 == rank) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      x = static_cast<float>(rank + round);
      ranks[static_cast<size_t>(rank)]->all_reduce_sum(&x, 1, nullptr);
      ASSERT_EQ(x, static_cast<float>(size * round + size * (size - 1) / 2));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadCommunicatorTest, testing::Values(1, 2, 3, 4));

TEST(RankThreads, EachRankOnItsOwnThread) {
  RankThreads threads(3);
  std::vector<std::thread::id> first(3), second(3);
  threads.run([&](int rank) { first[static_cast<size_t>(rank)] = std::this_thread::get_id(); });
  threads.run([&](int rank) { second[static_cast<size_t>(rank)] = std::this_thread::get_id(); });
  EXPECT_EQ(first, second);
  EXPECT_EQ(first[0], std::this_thread::get_id());
  EXPECT_NE(first[1], first[2]);
  EXPECT_NE(first[0], first[1]);
}

TEST(RankThreads, ThrowsWhatTheLowestRankThrew) {
  RankThreads threads(3);
  for (int round = 0; round < 3; ++round) {
    int done = 0;
    try {
      threads.run([&](int rank) {
        if (rank > 0) throw std::runtime_error(std::to_string(rank));
        ++done;
      });
      FAIL();
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "1");
    }
    EXPECT_EQ(done, 1);
  }
  int calls = 0;
  threads.run([&](int rank) {
    if (rank == 0) ++calls;
  });
  EXPECT_EQ(calls, 1);
}

TEST(RankThreads, StopsSleepingThreads) {
  RankThreads threads(4);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

}  // namespace
}  // namespace quire
