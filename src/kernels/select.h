// Chooses the kernel table of this process, the best this machine can run or one by its name, and the device
// it computes on.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "tensor/device.h"

namespace quire {

// What weights of integer codes are multiplied by unless something else is asked for; floats are then multiplied by
// f32. docs/kernels.md compares them.
inline constexpr Activations kUsualActivations = Activations::kInt8;
// Whether the CPU's table of this name (empty: the best) multiplies bf16 by an instruction for it.
bool multiplies_bf16(std::string_view isa);
const char* activations_name(Activations activations);  // "int8", "bf16", "f32"
std::optional<Activations> find_activations(std::string_view name);

const Kernels& reference_kernels(Activations activations = kUsualActivations);
// The tables of this build that this machine can run, the best first; the reference is always last.
const std::vector<const Kernels*>& runnable_kernels(Activations activations = kUsualActivations);
// `name` empty: the first of runnable_kernels(activations). Throws Error when the name is unknown or the machine cannot
// run it.
const Kernels& select_kernels(std::string_view name, Activations activations = kUsualActivations);

struct Backend {
  const Kernels* kernels = nullptr;
  std::unique_ptr<Device> device;
};
// What "cuda" stands for.
struct BackendFactory {
  // Device `index` and its table. Throws Error saying what is missing where there is no such device.
  std::function<Backend(bool one_answer, int index)> make;
  bool is_preferred = false;  // to the CPU where no device is named
};
// Of this build.
BackendFactory cuda_backends();

struct BackendChoice {
  std::string_view device = {};                 // "cpu", "cuda"; empty: the best there is
  std::string_view isa = {};                    // the CPU's table by its name; empty: the best
  Activations activations = kUsualActivations;  // of the CPU's tables; others have only the usual ones
  // Without one answer a device may have dense matrices multiplied by what is fastest for the batch; the CPU has
  // nothing of that kind.
  bool one_answer = true;
  int index = 0;  // which of the devices of that kind; the CPU is one
  // Of the CPU's memory.
  PageSize pages = PageSize::kHuge;
};
// Throws Error when this build or machine has no such device.
Backend select_backend(const BackendChoice& choice, const BackendFactory& cuda);

// Runs on the host's threads and, for a device that has one, on its stream.
Exec make_exec(ThreadPool& pool, void* stream = nullptr);

}  // namespace quire
