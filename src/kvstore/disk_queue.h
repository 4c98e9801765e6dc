// Reads and writes of one file that run at the same time, below a store. Started and awaited by one thread.
//
// Two ways: io_uring, where the system permits it, and threads that call pread and pwrite.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace quire {

class DiskQueue {
 public:
  struct Operation {
    uint64_t tag = 0;
    bool is_write = false;
    uint64_t offset = 0;
    std::span<std::byte> bytes;  // must stay valid until the result; not empty
  };
  struct Result {
    uint64_t tag = 0;
    int error = 0;  // errno; 0 when all bytes were moved
  };

  // No operation runs any more.
  virtual ~DiskQueue() = default;

  // At most as many at a time as the queue was made for.
  virtual void start(const Operation& operation) = 0;
  // Waits until an operation has ended or nudge() was called since the last return, and appends what has ended.
  virtual void wait(std::vector<Result>& ended) = 0;
  virtual void nudge() = 0;  // any thread
  virtual const char* name() const = 0;
};

// Of a file that stays open. Null where the system does not permit io_uring.
std::unique_ptr<DiskQueue> make_ring_queue(int file, int most_at_once);
std::unique_ptr<DiskQueue> make_thread_queue(int file, int num_threads);

}  // namespace quire
