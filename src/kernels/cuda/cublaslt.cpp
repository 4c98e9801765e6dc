#include "kernels/cuda/cublaslt.h"

#include <dlfcn.h>

#include <string>

#include "base/error.h"

#define QUIRE_TEXT_OF(x) #x
#define QUIRE_TEXT(x) QUIRE_TEXT_OF(x)

namespace quire {
namespace {

// Of the header's generation first: its structs are the ones passed.
constexpr const char* kFiles[] = {"libcublasLt.so." QUIRE_TEXT(CUBLAS_VER_MAJOR), "libcublasLt.so"};

[[noreturn]] void refuse(const std::string& why) {
  fail(
      ErrorCode::kUnsupported,
      "multiplying without one answer takes NVIDIA's cuBLASLt, {}; install it (package libcublas of the CUDA toolkit), "
      "add its folder to LD_LIBRARY_PATH, or leave --no-one-answer away",
      why);
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  void* const found = dlsym(library, name);
  if (found == nullptr) refuse(fmt::format("but the one found has no {}", name));
  function = reinterpret_cast<Function>(found);
}

}  // namespace

CublasLt open_cublaslt(std::span<const char* const> files) {
  void* library = nullptr;
  std::string tried;
  for (const char* file : files) {
    if ((library = dlopen(file, RTLD_NOW | RTLD_LOCAL)) != nullptr) break;
    const char* const why = dlerror();
    tried += fmt::format("{}{}", tried.empty() ? "" : "; ", why != nullptr ? why : file);
  }
  if (library == nullptr) refuse(fmt::format("which cannot be opened ({})", tried));
  CublasLt found{};
  find(library, "cublasLtGetVersion", found.get_version);
  find(library, "cublasLtGetStatusString", found.status_string);
  find(library, "cublasLtCreate", found.create);
  find(library, "cublasLtDestroy", found.destroy);
  find(library, "cublasLtMatrixLayoutCreate", found.create_layout);
  find(library, "cublasLtMatrixLayoutDestroy", found.destroy_layout);
  find(library, "cublasLtMatmulDescCreate", found.create_product);
  find(library, "cublasLtMatmulDescDestroy", found.destroy_product);
  find(library, "cublasLtMatmulDescSetAttribute", found.set_product);
  find(library, "cublasLtMatmulPreferenceCreate", found.create_preference);
  find(library, "cublasLtMatmulPreferenceDestroy", found.destroy_preference);
  find(library, "cublasLtMatmulPreferenceSetAttribute", found.set_preference);
  find(library, "cublasLtMatmulAlgoGetHeuristic", found.find_algorithm);
  find(library, "cublasLtMatmul", found.multiply);
  if (const size_t version = found.get_version(); version < kLtLeastVersion) {
    refuse(fmt::format("of version {} or later; {} was found", kLtLeastVersion, version));
  }
  return found;
}

const CublasLt& cublaslt() {
  static const CublasLt library = open_cublaslt(kFiles);
  return library;
}

}  // namespace quire
