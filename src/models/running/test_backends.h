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

inline BackendFactory cuda() {
#ifdef QUIRE_GPU_EMULATED
  return {.make = make_cuda};
#else
  return cuda_backends();
#endif
}

inline CommunicatorFactory cuda_communicators() {
#ifdef QUIRE_GPU_EMULATED
  return make_nccl_communicators;
#else
  return make_device_communicators;
#endif
}

inline bool has_cuda(bool one_answer = true) {
  try {
    cuda().make(one_answer, 0);
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

// The host's tables with other activations than the usual ones, named "avx512:f32".
inline std::vector<std::string> table_names_with_activations() {
  std::vector<std::string> names;
  for (const Activations kind : {Activations::kBf16, Activations::kF32}) {
    for (const Kernels* kernels : runnable_kernels(kind)) {
      names.push_back(std::string(kernels->name) + ":" + activations_name(kind));
    }
  }
  return names;
}

// The CUDA table without one answer, where it can be had.
inline constexpr const char* kCudaLibrary = "cuda_library";

inline bool is_cuda(const std::string& name) { return name == "cuda" || name == kCudaLibrary; }

inline std::vector<std::string> table_names_and_library() {
  std::vector<std::string> names = table_names();
  if (has_cuda() && has_cuda(/*one_answer=*/false)) names.emplace_back(kCudaLibrary);
  return names;
}

// `options` for the table of that name.
inline RunnerOptions with_table(RunnerOptions options, const std::string& name) {
  options.device = is_cuda(name) ? "cuda" : "cpu";
  const size_t colon = name.find(':');
  options.isa = is_cuda(name) ? "" : name.substr(0, colon);
  if (colon != std::string::npos) options.activations = find_activations(name.substr(colon + 1)).value();
  options.one_answer = name != kCudaLibrary;
  options.cuda = cuda();
  options.make_cuda_communicators = cuda_communicators();
  return options;
}

}  // namespace quire::test
