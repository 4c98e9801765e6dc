#include "server/http/worker_pool.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

namespace quire::http {

WorkerPool::WorkerPool(Options options) : options_(std::move(options)) {
  for (int i = 0; i < options_.num_threads; ++i)
    threads_.emplace_back([this, i] { work(/*is_first=*/options_.has_small_jobs && i == 0); });
}

WorkerPool::~WorkerPool() {
  Lanes dropped;
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
    dropped.swap(lanes_);
  }
  arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::optional<WorkerPool::Ticket> WorkerPool::submit(Job job) {
  Ticket ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    auto lane = find_lane(job.lane);
    const bool is_new = lane == lanes_.end();
    const int lane_waiting = is_new ? 0 : static_cast<int>(lane->waiting.size());
    if (is_ending_ || !has_room(num_queued_, queued_bytes_, job.bytes, 1) ||
        !has_room(lane_waiting, is_new ? 0 : lane->bytes, job.bytes, 2)) {
      return std::nullopt;
    }
    if (is_new) lane = lanes_.insert(lanes_.end(), Lane{.name = job.lane, .waiting = {}});
    ticket = ++last_ticket_;
    ++num_queued_;
    queued_bytes_ += job.bytes;
    lane->bytes += job.bytes;
    lane->waiting.push_back({ticket, std::move(job)});
    if (options_.on_queued) options_.on_queued(+1);
  }
  arrived_.notify_all();
  return ticket;
}

bool WorkerPool::drop(const std::string& lane_name, Ticket ticket) {
  Waiting dropped;  // its job may hold the last reference to a connection: it ends outside the lock
  const std::lock_guard lock(mutex_);
  const auto lane = find_lane(lane_name);
  if (lane == lanes_.end()) return false;
  const auto at = std::find_if(lane->waiting.begin(), lane->waiting.end(),
                               [&](const Waiting& waiting) { return waiting.ticket == ticket; });
  if (at == lane->waiting.end()) return false;
  dropped = remove(lane, at);
  arrived_.notify_all();  // what comes next in the lane may be for another worker
  return true;
}

int WorkerPool::num_queued() const {
  const std::lock_guard lock(mutex_);
  return num_queued_;
}

WorkerPool::Lanes::iterator WorkerPool::find_lane(const std::string& name) {
  return std::find_if(lanes_.begin(), lanes_.end(), [&](const Lane& lane) { return lane.name == name; });
}

// In 1 / share of the queue.
bool WorkerPool::has_room(int num_waiting, uint64_t waiting_bytes, uint64_t bytes, int share) const {
  if (num_waiting >= std::max(1, options_.max_queued / share)) return false;
  const uint64_t most = options_.max_queued_bytes / static_cast<uint64_t>(share);
  return num_waiting == 0 || (waiting_bytes <= most && bytes <= most - waiting_bytes);
}

WorkerPool::Waiting WorkerPool::remove(Lanes::iterator lane, std::deque<Waiting>::iterator at) {
  Waiting removed = std::move(*at);
  lane->waiting.erase(at);
  lane->bytes -= removed.job.bytes;
  queued_bytes_ -= removed.job.bytes;
  --num_queued_;
  if (lane->waiting.empty()) lanes_.erase(lane);
  if (options_.on_queued) options_.on_queued(-1);
  return removed;
}

// Small jobs go to the first worker; others help while it is busy. A single worker takes all.
WorkerPool::Lanes::iterator WorkerPool::next_lane(bool is_first) {
  if (!options_.has_small_jobs) return lanes_.begin();
  return std::find_if(lanes_.begin(), lanes_.end(), [&](const Lane& lane) {
    const bool is_small = lane.waiting.front().job.bytes < options_.large_job_bytes;
    return is_first ? is_small || options_.num_threads == 1 : !is_small || is_first_busy_;
  });
}

void WorkerPool::work(bool is_first) {
  // Linux has a priority for each thread. A failure leaves the usual one.
  if (!is_first && options_.niceness != 0) {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), options_.niceness);
  }
  std::unique_lock lock(mutex_);
  while (true) {
    auto lane = lanes_.end();
    arrived_.wait(lock, [&] { return is_ending_ || (lane = next_lane(is_first)) != lanes_.end(); });
    if (is_ending_) return;
    const bool has_more = lane->waiting.size() > 1;
    Waiting next = remove(lane, lane->waiting.begin());
    if (has_more) lanes_.splice(lanes_.end(), lanes_, lane);
    if (is_first) is_first_busy_ = true;
    if (!lanes_.empty()) arrived_.notify_all();  // what comes next may be for another worker
    lock.unlock();
    next.job.run();
    next = Waiting();
    lock.lock();
    if (is_first) is_first_busy_ = false;
  }
}

}  // namespace quire::http
