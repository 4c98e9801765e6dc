#include "parallel/nccl_communicator.h"

#include <numeric>

#include "base/error.h"
#include "kernels/cuda/device/gpu.h"
#include "parallel/nccl_library.h"

namespace quire {
namespace {

void check_nccl(ncclResult_t result, const char* what) {
  if (result == ncclSuccess) return;
  fail(ErrorCode::kIo, "NCCL: {}: {} ({}); NCCL_DEBUG=WARN says more", what, nccl().error_string(result),
       static_cast<int>(result));
}

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(int rank, int size, ncclComm_t comm) : Communicator(rank, size), comm_(comm) {}
  ~NcclCommunicator() override { nccl().destroy(comm_); }

  void all_reduce_sum(float* x, int64_t count, void* stream) override {
    check_nccl(nccl().all_reduce(x, x, static_cast<size_t>(count), ncclFloat32, ncclSum, comm_,
                                 static_cast<const GpuStream*>(stream)->stream),
               "adding over the GPUs");
  }

 private:
  ncclComm_t comm_;
};

}  // namespace

Communicators make_nccl_communicators(int size) {
  std::vector<int> devices(static_cast<size_t>(size));
  std::iota(devices.begin(), devices.end(), 0);
  std::vector<ncclComm_t> comms(devices.size());
  check_nccl(nccl().init_all(comms.data(), size, devices.data()), "connecting the GPUs");
  check_gpu(cudaSetDevice(0), "going back to device 0");
  Communicators made;
  for (int rank = 0; rank < size; ++rank) {
    made.push_back(std::make_unique<NcclCommunicator>(rank, size, comms[static_cast<size_t>(rank)]));
  }
  return made;
}

}  // namespace quire
