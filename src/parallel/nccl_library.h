// The functions of NVIDIA's NCCL that Quire calls. The library is opened at run time, when a model is divided
// among several GPUs.
// Emulated, they work on the CPU (emulated_nccl.h). Reference: NVIDIA's NCCL manual, "Collective Communication
// Functions".
#pragma once

#ifdef QUIRE_GPU_EMULATED
#include "parallel/emulated_nccl.h"
#else
#include <nccl.h>
#endif

#include <span>

namespace quire {

struct Nccl {
  decltype(&ncclGetErrorString) error_string;
  decltype(&ncclCommInitAll) init_all;
  decltype(&ncclCommDestroy) destroy;
  decltype(&ncclAllReduce) all_reduce;
};

// Opened once, for the rest of the process. Throws Error saying what was looked for and what to install.
const Nccl& nccl();

#ifndef QUIRE_GPU_EMULATED
// The first of the files that can be opened.
Nccl open_nccl(std::span<const char* const> files);
#endif

}  // namespace quire
