// Chooses the kernel table of this process, the best this machine can run or one by its name, and the device
// it computes on.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "tensor/device.h"

namespace quire {

const Kernels& reference_kernels();
// Tables this build holds and this machine can run, best first; the reference is always last.
const std::vector<const Kernels*>& runnable_kernels();
// `name` empty: the first of runnable_kernels(). Throws Error
// when the name is unknown or the machine cannot run it.
const Kernels& select_kernels(std::string_view name);

struct Backend {
  const Kernels* kernels = nullptr;
  std::unique_ptr<Device> device;
};
// `device`: "cpu" with the table `isa`, "cuda", or empty for the best there is. Without one answer a device may have
// dense matrices multiplied by what is fastest for the batch; the CPU has nothing of that kind. `index`: which of the
// devices of that kind; the CPU is one. Throws Error when this build or machine has no such device.
Backend select_backend(std::string_view device, std::string_view isa, bool one_answer = true, int index = 0);
// What "cuda" stands for: throws Error saying what is missing where there is no such device. Null in builds without
// CUDA; tests put the emulated one here, which then has to be asked for by name.
extern Backend (*make_cuda_backend)(bool one_answer, int index);

// On the host's threads and, for a device that has one, its stream.
Exec make_exec(ThreadPool& pool, void* stream = nullptr);

}  // namespace quire
