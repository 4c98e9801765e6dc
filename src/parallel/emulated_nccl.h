// The functions of NCCL that Quire uses, on the CPU, for tests: each rank has its own emulated device
// (kernels/cuda/emulator/emulated_runtime.h). Like a kernel, a sum runs when the thread of its rank waits for the
// stream; then it waits until every other rank waits too. Sums are added in the order of ranks.
#pragma once

#include <cstddef>

#include "kernels/cuda/emulator/emulated_runtime.h"

// NOLINTBEGIN(readability-identifier-naming): NVIDIA's own names.
enum ncclResult_t { ncclSuccess = 0, ncclInvalidArgument = 4 };
enum ncclDataType_t { ncclFloat32 = 7 };
enum ncclRedOp_t { ncclSum = 0 };
using ncclComm_t = struct EmulatedComm*;

const char* ncclGetErrorString(ncclResult_t result);
ncclResult_t ncclCommInitAll(ncclComm_t* comms, int num_devices, const int* devices);
ncclResult_t ncclCommDestroy(ncclComm_t comm);
ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t operation,
                           ncclComm_t comm, cudaStream_t stream);
// NOLINTEND(readability-identifier-naming)
