// Ranks compute one model together: each has a part of the weights, a device and a thread. A rank exchanges data with
// the others through its communicator.
//
// Owned by the model runner; used by the thread of its rank alone.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace quire {

class Communicator {
 public:
  Communicator(int rank, int size) : rank_(rank), size_(size) {}
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  // x [count] becomes the sum of all ranks' x, the same bits on every rank. All ranks make the same calls in the same
  // order. On a device it is queued on `stream` (Exec::stream), like a kernel, and may be recorded.
  virtual void all_reduce_sum(float* x, int64_t count, void* stream) = 0;

 private:
  int rank_;
  int size_;
};

using Communicators = std::vector<std::unique_ptr<Communicator>>;  // by rank

// The communicator of the only rank. Any thread.
Communicator& single_communicator();

// Makes the communicators of `size` ranks of this process. Throws Error where the build or the machine cannot do it.
using CommunicatorFactory = Communicators (*)(int size);
// On the first `size` CUDA devices, in this build.
Communicators make_device_communicators(int size);

}  // namespace quire
