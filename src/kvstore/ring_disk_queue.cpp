#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "kvstore/disk_queue.h"

namespace quire {
namespace {

constexpr size_t kMostOfRing = size_t{1} << 30;  // bytes of one request

// A nudge is a write to an event counter, of which the ring always has a read under way.
class RingQueue final : public DiskQueue {
 public:
  RingQueue(int file, int most_at_once) : file_(file), running_(static_cast<size_t>(most_at_once)) {
    for (size_t i = running_.size(); i-- > 0;) free_.push_back(i);
  }
  RingQueue(const RingQueue&) = delete;
  RingQueue& operator=(const RingQueue&) = delete;
  ~RingQueue() override {
    if (is_open_) {
      CHECK(free_.size() == running_.size());
      if (awaits_nudge_) {  // the kernel must be done with event_
        nudge();
        std::vector<Result> none;
        wait(none);
      }
      io_uring_queue_exit(&ring_);
    }
    if (counter_ >= 0) ::close(counter_);
  }

  bool open() {
    counter_ = ::eventfd(0, EFD_CLOEXEC);
    if (counter_ < 0) return false;
    is_open_ = io_uring_queue_init(static_cast<unsigned>(running_.size() + 1), &ring_, 0) == 0;
    return is_open_;
  }

  void start(const Operation& operation) override {
    CHECK(!free_.empty());
    const size_t index = free_.back();
    free_.pop_back();
    running_[index] = {.operation = operation};
    prepare(index);
    io_uring_submit(&ring_);  // what it does not take now, wait() submits
  }

  void wait(std::vector<Result>& ended) override {
    const size_t before = ended.size();
    bool was_nudged = false;
    while (ended.size() == before && !was_nudged) {
      await_nudge();
      const int rc = io_uring_submit_and_wait(&ring_, 1);
      CHECK(rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
      io_uring_cqe* entry = nullptr;
      while (io_uring_peek_cqe(&ring_, &entry) == 0) {
        const uint64_t index = io_uring_cqe_get_data64(entry);
        const int result = entry->res;
        io_uring_cqe_seen(&ring_, entry);
        if (index == kNudge) {
          awaits_nudge_ = false;
          was_nudged = true;
        } else {
          advance(static_cast<size_t>(index), result, ended);
        }
      }
    }
  }

  void nudge() override {
    const uint64_t one = 1;
    while (::write(counter_, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
  }
  const char* name() const override { return "io_uring"; }

 private:
  static constexpr uint64_t kNudge = ~uint64_t{0};
  struct Running {
    Operation operation;
    size_t num_done = 0;  // bytes
  };

  io_uring_sqe* next_entry() {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    CHECK(entry != nullptr);  // the ring has one for each that runs
    return entry;
  }
  void await_nudge() {
    if (awaits_nudge_) return;
    io_uring_sqe* entry = next_entry();
    io_uring_prep_read(entry, counter_, &event_, sizeof(event_), 0);
    io_uring_sqe_set_data64(entry, kNudge);
    awaits_nudge_ = true;
  }
  void prepare(size_t index) {
    const Running& running = running_[index];
    const auto rest = running.operation.bytes.subspan(running.num_done);
    const auto count = static_cast<unsigned>(std::min(rest.size(), kMostOfRing));
    const uint64_t offset = running.operation.offset + running.num_done;
    io_uring_sqe* entry = next_entry();
    if (running.operation.is_write) {
      io_uring_prep_write(entry, file_, rest.data(), count, offset);
    } else {
      io_uring_prep_read(entry, file_, rest.data(), count, offset);
    }
    io_uring_sqe_set_data64(entry, index);
  }
  // A part of an operation was moved, or was not.
  void advance(size_t index, int result, std::vector<Result>& ended) {
    Running& running = running_[index];
    const bool is_again = result == -EINTR || result == -EAGAIN;
    if (result > 0) running.num_done += static_cast<size_t>(result);
    if (is_again || (result > 0 && running.num_done < running.operation.bytes.size())) {
      prepare(index);
      return;
    }
    ended.push_back({.tag = running.operation.tag, .error = result > 0 ? 0 : result < 0 ? -result : EIO});
    free_.push_back(index);
  }

  int file_;
  int counter_ = -1;
  bool is_open_ = false;
  io_uring ring_ = {};
  uint64_t event_ = 0;
  bool awaits_nudge_ = false;
  std::vector<Running> running_;
  std::vector<size_t> free_;
};

}  // namespace

std::unique_ptr<DiskQueue> make_ring_queue(int file, int most_at_once) {
  auto queue = std::make_unique<RingQueue>(file, most_at_once);
  if (!queue->open()) return nullptr;
  return queue;
}

}  // namespace quire
