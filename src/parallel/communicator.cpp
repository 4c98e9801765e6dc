#include "parallel/communicator.h"

#ifdef QUIRE_NCCL
#include "parallel/nccl_communicator.h"
#else
#include "base/error.h"
#endif

namespace quire {
namespace {

class SingleCommunicator : public Communicator {
 public:
  SingleCommunicator() : Communicator(0, 1) {}
  void all_reduce_sum(float*, int64_t, void*) override {}
};

}  // namespace

Communicator& single_communicator() {
  static SingleCommunicator single;
  return single;
}

#ifdef QUIRE_NCCL
Communicators make_device_communicators(int size) { return make_nccl_communicators(size); }
#else
Communicators make_device_communicators(int size) {
  fail(ErrorCode::kUnsupported,
       "--tensor-parallel {}: this build was made without NVIDIA's NCCL; install its header (nccl.h, package "
       "libnccl-dev) and build the preset \"cuda\" again, or use one GPU",
       size);
}
#endif

}  // namespace quire
