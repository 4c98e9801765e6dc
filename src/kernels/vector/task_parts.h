// Divides the tasks of a call among the threads. math.h says how the files of this folder are used.
#pragma once

#include "kernels/kernels.h"

namespace quire {
namespace {

// Each thread has a contiguous part of the tasks: take() returns the next task of the thread's own part, or one of
// another part when its own is done. So a thread reads memory as one stream whatever the other threads do; and it
// multiplies the part of a matrix that it has packed itself, if the matrix is multiplied alone.
class TaskParts {
 public:
  TaskParts(int64_t num_tasks, int num_threads) : num_parts_(num_threads < kMaxParts ? num_threads : kMaxParts) {
    for (int part = 0; part < num_parts_; ++part) {
      parts_[part] = {num_tasks * part / num_parts_, num_tasks * (part + 1) / num_parts_};
    }
  }
  // The threads together must call it exactly num_tasks times.
  int64_t take(int thread) {
    for (int part = thread % num_parts_;; part = (part + 1) % num_parts_) {
      Part& from = parts_[part];
      if (__atomic_load_n(&from.next, __ATOMIC_RELAXED) >= from.end) continue;
      const int64_t task = __atomic_fetch_add(&from.next, 1, __ATOMIC_RELAXED);
      if (task < from.end) return task;
    }
  }

 private:
  static constexpr int kMaxParts = 64;  // further threads share these parts
  struct alignas(64) Part {
    int64_t next;
    int64_t end;
  };
  int num_parts_;
  Part parts_[kMaxParts];
};

}  // namespace
}  // namespace quire
