// The kernel tables that tests of models run under: those of this machine and the CUDA table, on a device where there
// is one, emulated where the emulation is linked.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/select.h"
#include "models/running/model_runner.h"
#ifdef QUIRE_GPU_EMULATED
#include "kernels/cuda/cuda.h"
#include "parallel/nccl_communicator.h"
#endif

namespace quire::test {

inline bool has_cuda() {
#ifdef QUIRE_GPU_EMULATED
  make_cuda_backend = make_cuda;
  make_device_communicators = make_nccl_communicators;
#endif
  if (make_cuda_backend == nullptr) return false;
  try {
    make_cuda_backend(/*one_answer=*/true, 0);
    return true;
  } catch (const Error&) {
    return false;
  }
}

inline std::vector<std::string> table_names() {
  std::vector<std::string> names;
  for (const Kernels* kernels : runnable_kernels()) names.emplace_back(kernels->name);
  if (has_cuda()) names.emplace_back("cuda");
  return names;
}

// The CUDA table without one answer, where it can be had.
inline constexpr const char* kCudaLibrary = "cuda_library";

inline bool is_cuda(const std::string& name) { return name == "cuda" || name == kCudaLibrary; }

inline std::vector<std::string> table_names_and_library() {
  std::vector<std::string> names = table_names();
  if (!has_cuda()) return names;
  try {
    make_cuda_backend(/*one_answer=*/false, 0);
    names.emplace_back(kCudaLibrary);
  } catch (const Error&) {
  }
  return names;
}

// `options` for the table of that name.
inline RunnerOptions with_table(RunnerOptions options, const std::string& name) {
  options.device = is_cuda(name) ? "cuda" : "cpu";
  options.isa = is_cuda(name) ? "" : name;
  options.one_answer = name != kCudaLibrary;
  return options;
}

}  // namespace quire::test
