// Chooses the kernel table of this process: the best this machine can run, or the one named by QUIRE_ISA.
#pragma once

#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace quire {

const Kernels& reference_kernels();
// Tables this build holds and this machine can run, best first; the reference is always last.
const std::vector<const Kernels*>& runnable_kernels();
// `name` empty: the one named by the environment variable QUIRE_ISA, else the first of runnable_kernels(). Throws Error
// when the name is unknown or the machine cannot run it.
const Kernels& select_kernels(std::string_view name);

Exec make_exec(ThreadPool& pool);

}  // namespace quire
