#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "kvstore/disk_queue.h"

namespace quire {
namespace {

// 0 or errno.
int move_bytes(int file, const DiskQueue::Operation& operation) {
  size_t num_done = 0;
  while (num_done < operation.bytes.size()) {
    const auto rest = operation.bytes.subspan(num_done);
    const auto offset = static_cast<off_t>(operation.offset + num_done);
    const ssize_t count = operation.is_write ? ::pwrite(file, rest.data(), rest.size(), offset)
                                             : ::pread(file, rest.data(), rest.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? errno : EIO;
    num_done += static_cast<size_t>(count);
  }
  return 0;
}

class ThreadQueue final : public DiskQueue {
 public:
  ThreadQueue(int file, int num_threads) : file_(file) {
    for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { run(); });
  }
  ThreadQueue(const ThreadQueue&) = delete;
  ThreadQueue& operator=(const ThreadQueue&) = delete;
  ~ThreadQueue() override {
    {
      const std::lock_guard lock(mutex_);
      is_stopped_ = true;
    }
    has_work_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  void start(const Operation& operation) override {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(operation);
    }
    has_work_.notify_one();
  }
  void wait(std::vector<Result>& ended) override {
    std::unique_lock lock(mutex_);
    has_results_.wait(lock, [this] { return was_nudged_ || !results_.empty(); });
    was_nudged_ = false;
    ended.insert(ended.end(), results_.begin(), results_.end());
    results_.clear();
  }
  void nudge() override {
    {
      const std::lock_guard lock(mutex_);
      was_nudged_ = true;
    }
    has_results_.notify_one();
  }
  const char* name() const override { return "pread"; }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      has_work_.wait(lock, [this] { return is_stopped_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      const Operation operation = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      const int error = move_bytes(file_, operation);
      lock.lock();
      results_.push_back({.tag = operation.tag, .error = error});
      has_results_.notify_one();
    }
  }

  int file_;
  std::mutex mutex_;
  std::condition_variable has_work_;
  std::condition_variable has_results_;
  bool is_stopped_ = false;
  bool was_nudged_ = false;
  std::deque<Operation> waiting_;
  std::vector<Result> results_;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<DiskQueue> make_thread_queue(int file, int num_threads) {
  return std::make_unique<ThreadQueue>(file, num_threads);
}

}  // namespace quire
