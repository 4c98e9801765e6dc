#include "parallel/nccl_library.h"

#include <string>

#include "base/error.h"
#include "base/shared_library.h"

namespace quire {
namespace {

constexpr const char* kFiles[] = {"libnccl.so.2"};  // of the header's major version, whose types are passed
static_assert(NCCL_MAJOR == 2);

[[noreturn]] void refuse(const std::string& why) {
  fail(ErrorCode::kUnsupported,
       "a model on several GPUs needs NVIDIA's NCCL, {}; install it (package libnccl2), add its folder to "
       "LD_LIBRARY_PATH, or run without --tensor-parallel",
       why);
}

}  // namespace

Nccl open_nccl(std::span<const char* const> files) {
  const SharedLibrary library(files, refuse);
  Nccl found{};
  library.find("ncclGetErrorString", found.error_string);
  library.find("ncclCommInitAll", found.init_all);
  library.find("ncclCommDestroy", found.destroy);
  library.find("ncclAllReduce", found.all_reduce);
  return found;
}

const Nccl& nccl() {
  static const Nccl library = open_nccl(kFiles);
  return library;
}

}  // namespace quire
