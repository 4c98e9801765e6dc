#include "parallel/communicator.h"

#include "base/error.h"
#include "parallel/thread_communicator.h"

#ifdef QUIRE_NCCL
#include "parallel/nccl_communicator.h"
#endif

namespace quire {
namespace {

class SingleCommunicator : public Communicator {
 public:
  SingleCommunicator() : Communicator(0, 1) {}
  void all_reduce_sum(float*, int64_t, void*) override {}
};

}  // namespace

#ifdef QUIRE_NCCL
Communicators (*make_device_communicators)(int size) = make_nccl_communicators;
#else
Communicators (*make_device_communicators)(int size) = nullptr;
#endif

Communicator& single_communicator() {
  static SingleCommunicator single;
  return single;
}

Communicators make_communicators(int size, bool on_host) {
  if (on_host) return make_thread_communicators(size);
  if (make_device_communicators != nullptr) return make_device_communicators(size);
  fail(ErrorCode::kUnsupported,
       "--tensor-parallel {}: this build was made without NVIDIA's NCCL; install its header (nccl.h, package "
       "libnccl-dev) and build the preset \"cuda\" again, or use one GPU",
       size);
}

}  // namespace quire
