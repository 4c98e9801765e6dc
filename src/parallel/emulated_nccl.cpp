#include "parallel/emulated_nccl.h"

#include <set>

#include "parallel/nccl_library.h"
#include "parallel/thread_communicator.h"

// NOLINTBEGIN(readability-identifier-naming): NVIDIA's own names.
struct EmulatedComm {
  std::unique_ptr<quire::Communicator> ranks;
};

const char* ncclGetErrorString(ncclResult_t result) { return result == ncclSuccess ? "no error" : "invalid argument"; }

ncclResult_t ncclCommInitAll(ncclComm_t* comms, int num_devices, const int* devices) {
  int present = 0;
  cudaGetDeviceCount(&present);
  if (num_devices < 1 || num_devices > present) return ncclInvalidArgument;
  if (std::set<int>(devices, devices + num_devices).size() != static_cast<size_t>(num_devices)) {
    return ncclInvalidArgument;
  }
  for (auto& ranks : quire::make_thread_communicators(num_devices)) *comms++ = new EmulatedComm{std::move(ranks)};
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t operation,
                           ncclComm_t comm, cudaStream_t stream) {
  if (from != to || type != ncclFloat32 || operation != ncclSum || stream == nullptr) return ncclInvalidArgument;
  quire::emulated::enqueue(
      stream, [=] { comm->ranks->all_reduce_sum(static_cast<float*>(to), static_cast<int64_t>(count), nullptr); });
  return ncclSuccess;
}
// NOLINTEND(readability-identifier-naming)

namespace quire {

const Nccl& nccl() {
  static const Nccl functions{ncclGetErrorString, ncclCommInitAll, ncclCommDestroy, ncclAllReduce};
  return functions;
}

}  // namespace quire
