// The kernel tables that tests of models run under: those of this machine and the CUDA table, on a device where there
// is one, emulated where the emulation is linked.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/select.h"
#include "models/model_runner.h"
#ifdef QUIRE_GPU_EMULATED
#include "kernels/cuda/cuda.h"
#endif

namespace quire::test {

inline bool has_cuda() {
#ifdef QUIRE_GPU_EMULATED
  make_cuda_backend = make_cuda;
#endif
  if (make_cuda_backend == nullptr) return false;
  try {
    make_cuda_backend();
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

// `options` for the table of that name.
inline RunnerOptions with_table(RunnerOptions options, const std::string& name) {
  options.device = name == "cuda" ? "cuda" : "cpu";
  options.isa = name == "cuda" ? "" : name;
  return options;
}

}  // namespace quire::test
