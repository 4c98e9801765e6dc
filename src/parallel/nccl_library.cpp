#include "parallel/nccl_library.h"

#include <dlfcn.h>

#include <string>

#include "base/error.h"

namespace quire {
namespace {

constexpr const char* kFiles[] = {"libnccl.so.2"};  // of the header's generation: its types are the ones passed
static_assert(NCCL_MAJOR == 2);

[[noreturn]] void refuse(const std::string& why) {
  fail(
      ErrorCode::kUnsupported,
      "several GPUs take NVIDIA's NCCL, {}; install it (package libnccl2), add its folder to LD_LIBRARY_PATH, or leave "
      "--tensor-parallel away",
      why);
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  void* const found = dlsym(library, name);
  if (found == nullptr) refuse(fmt::format("but the one found has no {}", name));
  function = reinterpret_cast<Function>(found);
}

}  // namespace

Nccl open_nccl(std::span<const char* const> files) {
  void* library = nullptr;
  std::string tried;
  for (const char* file : files) {
    if ((library = dlopen(file, RTLD_NOW | RTLD_LOCAL)) != nullptr) break;
    const char* const why = dlerror();
    tried += fmt::format("{}{}", tried.empty() ? "" : "; ", why != nullptr ? why : file);
  }
  if (library == nullptr) refuse(fmt::format("which cannot be opened ({})", tried));
  Nccl found{};
  find(library, "ncclGetErrorString", found.error_string);
  find(library, "ncclCommInitAll", found.init_all);
  find(library, "ncclCommDestroy", found.destroy);
  find(library, "ncclAllReduce", found.all_reduce);
  return found;
}

const Nccl& nccl() {
  static const Nccl library = open_nccl(kFiles);
  return library;
}

}  // namespace quire
