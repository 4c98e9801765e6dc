#include "server/http/worker_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <thread>

namespace quire::http {
namespace {

// One worker that waits at a gate, so that everything after it queues in a known order.
struct Gated {
  explicit Gated(WorkerPool::Options options = {}) {
    options.num_threads = 1;
    options.on_queued = [this](int change) { queued += change; };
    pool = std::make_unique<WorkerPool>(options);
    EXPECT_TRUE(pool->submit({"gate", 0, [this] {
                                has_started.set_value();
                                gate.get_future().wait();
                              }}));
    has_started.get_future().wait();
  }
  std::optional<WorkerPool::Ticket> submit(const std::string& lane, uint64_t bytes = 1) const {
    return pool->submit({lane, bytes, [this, lane] { order += lane; }});
  }
  // Opens the gate and waits for all that was queued.
  void run() {
    gate.set_value();
    while (pool->num_queued() > 0) std::this_thread::yield();
    pool.reset();
  }

  std::promise<void> has_started;
  std::promise<void> gate;
  std::atomic<int> queued{0};
  mutable std::string order;  // written by the worker alone
  std::unique_ptr<WorkerPool> pool;
};

TEST(WorkerPool, TakesLanesInTurn) {
  Gated gated;
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(gated.submit("a"));
  EXPECT_TRUE(gated.submit("b"));
  EXPECT_TRUE(gated.submit("c"));
  EXPECT_TRUE(gated.submit("b"));
  EXPECT_EQ(gated.queued, 8);
  gated.run();
  EXPECT_EQ(gated.order, "abcabaaa");
  EXPECT_EQ(gated.queued, 0);
}

TEST(WorkerPool, LargeJobsLeaveTheFirstWorkerToSmallOnes) {
  constexpr uint64_t kLarge = 1 << 20;
  WorkerPool pool({.num_threads = 3, .niceness = 7});
  std::promise<void> gate;
  const std::shared_future<void> opened = gate.get_future().share();
  std::atomic<int> num_running{0};
  for (const char* lane : {"a", "a", "a", "b"}) {
    EXPECT_TRUE(pool.submit({lane, kLarge, [&, opened] {
                               ++num_running;
                               opened.wait();
                             }}));
  }
  std::promise<int> priority;
  EXPECT_TRUE(
      pool.submit({"c", 10, [&] { priority.set_value(::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()))); }}));
  EXPECT_EQ(priority.get_future().get(), ::getpriority(PRIO_PROCESS, 0)) << "small jobs do not give way";
  while (num_running < 2) std::this_thread::yield();
  EXPECT_EQ(num_running, 2);
  EXPECT_EQ(pool.num_queued(), 2);
  gate.set_value();
  while (num_running < 4) std::this_thread::yield();
}

TEST(WorkerPool, OthersTakeSmallJobsWhileTheFirstIsBusyAndGiveWay) {
  WorkerPool pool({.num_threads = 2, .niceness = 7});
  std::promise<void> gate;
  const std::shared_future<void> opened = gate.get_future().share();
  EXPECT_TRUE(pool.submit({"a", 10, [opened] { opened.wait(); }}));
  std::promise<int> priority;
  EXPECT_TRUE(
      pool.submit({"a", 10, [&] { priority.set_value(::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()))); }}));
  EXPECT_EQ(priority.get_future().get(), std::max(7, ::getpriority(PRIO_PROCESS, 0)));
  gate.set_value();
}

TEST(WorkerPool, ASingleWorkerTakesAll) {
  WorkerPool pool({.num_threads = 1});
  std::promise<void> done;
  EXPECT_TRUE(pool.submit({"a", 1 << 20, [&] { done.set_value(); }}));
  EXPECT_EQ(done.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

TEST(WorkerPool, OneLaneGetsHalfOfTheQueue) {
  Gated gated({.max_queued = 8});
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(gated.submit("a"));
  EXPECT_FALSE(gated.submit("a"));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(gated.submit("b"));
  gated.run();
  EXPECT_EQ(gated.order,
            "ababab"
            "a");
}

TEST(WorkerPool, BoundsBytesAndTakesALargeJobAlone) {
  Gated gated({.max_queued_bytes = 100});
  EXPECT_TRUE(gated.submit("a", 1000)) << "larger than the queue, but nothing else waits";
  EXPECT_FALSE(gated.submit("b", 1));
  gated.run();

  Gated more({.max_queued_bytes = 100});
  EXPECT_TRUE(more.submit("a", 30));
  EXPECT_FALSE(more.submit("a", 30)) << "half of the bytes for one lane";
  EXPECT_TRUE(more.submit("b", 40));
  EXPECT_FALSE(more.submit("c", 31));
  EXPECT_TRUE(more.submit("c", 30));
  more.run();
}

TEST(WorkerPool, DroppedJobsNeverRunAndFreeTheirPlace) {
  Gated gated({.max_queued = 2});
  const auto held = std::make_shared<int>(0);
  const auto ticket = gated.pool->submit({"a", 1, [held, &gated] { gated.order += "dropped"; }});
  ASSERT_TRUE(ticket);
  EXPECT_FALSE(gated.submit("a"));
  gated.pool->drop("b", *ticket);
  gated.pool->drop("a", *ticket + 1);
  EXPECT_EQ(gated.pool->num_queued(), 1);
  gated.pool->drop("a", *ticket);
  gated.pool->drop("a", *ticket);
  EXPECT_EQ(gated.pool->num_queued(), 0);
  EXPECT_EQ(held.use_count(), 1) << "what it held is freed at once";
  EXPECT_TRUE(gated.submit("a"));
  gated.run();
  EXPECT_EQ(gated.order, "a");
}

TEST(WorkerPool, EndsWithJobsStillWaiting) {
  Gated gated;
  EXPECT_TRUE(gated.submit("a"));
  gated.gate.set_value();
  gated.pool.reset();  // the job may have run or not; nothing hangs, nothing runs afterwards
  const std::string order = gated.order;
  EXPECT_TRUE(order.empty() || order == "a");
}

TEST(WorkerPool, ManyThreadsSubmitAndDrop) {
  std::atomic<int> num_run{0};
  std::atomic<int> num_accepted{0};
  {
    WorkerPool pool({.num_threads = 3});
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 2000; ++i) {
          const std::string lane(1, static_cast<char>('a' + (i + t) % 5));
          const auto ticket = pool.submit({lane, 1, [&] { ++num_run; }});
          if (!ticket) continue;
          ++num_accepted;
          if (i % 3 == 0) pool.drop(lane, *ticket);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    while (pool.num_queued() > 0) std::this_thread::yield();
  }
  EXPECT_GT(num_run, 0);
  EXPECT_LE(num_run, num_accepted);
}

}  // namespace
}  // namespace quire::http
