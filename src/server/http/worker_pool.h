// Threads for work whose time grows with what a client sent, so that the threads of the sockets never wait for it.
//
// The queue is bounded and has a lane for every client: workers take one job from each lane in turn, and one lane gets
// at most half of the queue, so that a client with many or large requests delays itself. A job cannot be interrupted:
// the first worker takes small ones alone, so that they never wait for a large one, and the others may give way to the
// rest of the process. Every member: any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace quire::http {

constexpr uint64_t kLargeJobBytes = 64 * 1024;  // from here on a job is large

class WorkerPool {
 public:
  struct Options {
    int num_threads = 2;
    int max_queued = 1024;                            // jobs that wait; those that run are not counted
    uint64_t max_queued_bytes = uint64_t{256} << 20;  // of their requests; a job larger than that waits alone
    uint64_t large_job_bytes = kLargeJobBytes;
    bool has_small_jobs = true;                      // false: all jobs are large, and the first worker takes any
    int niceness = 0;                                // of all workers but the first for small ones, as of `nice`
    std::function<void(int change)> on_queued = {};  // any thread: +1 a job waits, -1 it runs or was dropped
  };
  struct Job {
    std::string lane;
    uint64_t bytes = 0;
    std::function<void()> run;  // must not throw
  };
  using Ticket = uint64_t;

  explicit WorkerPool(Options options);
  // Drops what waits and returns when what runs has ended.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Nothing when the queue, or the lane's half of it, is full.
  std::optional<Ticket> submit(Job job);
  // Takes a job out of its lane. False when it runs, has run or was dropped before.
  bool drop(const std::string& lane, Ticket ticket);
  int num_queued() const;

 private:
  struct Waiting {
    Ticket ticket = 0;
    Job job;
  };
  struct Lane {
    std::string name;
    std::deque<Waiting> waiting;  // never empty
    uint64_t bytes = 0;
  };
  using Lanes = std::list<Lane>;

  Lanes::iterator find_lane(const std::string& name);
  bool has_room(int num_waiting, uint64_t waiting_bytes, uint64_t bytes, int share) const;
  Waiting remove(Lanes::iterator lane, std::deque<Waiting>::iterator at);
  Lanes::iterator next_lane(bool is_first);
  void work(bool is_first);

  const Options options_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  Lanes lanes_;  // the first has the next turn
  bool is_first_busy_ = false;
  Ticket last_ticket_ = 0;
  int num_queued_ = 0;
  uint64_t queued_bytes_ = 0;
  bool is_ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace quire::http
