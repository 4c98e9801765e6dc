#include "kernels/cuda/matmul/cublaslt.h"

#include <string>

#include "base/error.h"
#include "base/shared_library.h"

#define QUIRE_TEXT_OF(x) #x
#define QUIRE_TEXT(x) QUIRE_TEXT_OF(x)

namespace quire {
namespace {

// The library of the header's major version comes first, because Quire passes that header's structs.
constexpr const char* kFiles[] = {"libcublasLt.so." QUIRE_TEXT(CUBLAS_VER_MAJOR), "libcublasLt.so"};

[[noreturn]] void refuse(const std::string& why) {
  fail(
      ErrorCode::kUnsupported,
      "multiplying without one answer takes NVIDIA's cuBLASLt, {}; install it (package libcublas of the CUDA toolkit), "
      "add its folder to LD_LIBRARY_PATH, or omit --no-one-answer",
      why);
}

}  // namespace

CublasLt open_cublaslt(std::span<const char* const> files) {
  const SharedLibrary library(files, refuse);
  CublasLt found{};
  library.find("cublasLtGetVersion", found.get_version);
  library.find("cublasLtGetStatusString", found.status_string);
  library.find("cublasLtCreate", found.create);
  library.find("cublasLtDestroy", found.destroy);
  library.find("cublasLtMatrixLayoutCreate", found.create_layout);
  library.find("cublasLtMatrixLayoutDestroy", found.destroy_layout);
  library.find("cublasLtMatmulDescCreate", found.create_product);
  library.find("cublasLtMatmulDescDestroy", found.destroy_product);
  library.find("cublasLtMatmulDescSetAttribute", found.set_product);
  library.find("cublasLtMatmulPreferenceCreate", found.create_preference);
  library.find("cublasLtMatmulPreferenceDestroy", found.destroy_preference);
  library.find("cublasLtMatmulPreferenceSetAttribute", found.set_preference);
  library.find("cublasLtMatmulAlgoGetHeuristic", found.find_algorithm);
  library.find("cublasLtMatmul", found.multiply);
  if (const size_t version = found.get_version(); version < kLtMinVersion) {
    refuse(fmt::format("of version {} or later; {} was found", kLtMinVersion, version));
  }
  return found;
}

const CublasLt& cublaslt() {
  static const CublasLt library = open_cublaslt(kFiles);
  return library;
}

}  // namespace quire
