#include "kernels/cuda/emulator/emulated_cublaslt.h"

#include <cstring>

#include "kernels/cuda/matmul/cublaslt.h"
#include "tensor/float8.h"
#include "tensor/half.h"

// NOLINTBEGIN(readability-identifier-naming): NVIDIA's own names.
struct EmulatedLt {};

struct EmulatedLtLayout {
  cudaDataType type;
  int64_t rows;
  int64_t cols;
  int64_t ld;
};

struct EmulatedLtProduct {
  int32_t operation_a = CUBLAS_OP_N;
  int32_t operation_b = CUBLAS_OP_N;
  const float* scales_a = nullptr;
  const float* scales_b = nullptr;
  int32_t scale_mode_a = 0;
  int32_t scale_mode_b = 0;
};

struct EmulatedLtPreference {
  uint64_t workspace_bytes = 0;
  uint32_t alignment[4] = {256, 256, 256, 256};  // of A, B, C, D
};

namespace {

constexpr int64_t kScaleColumns = 128;
constexpr size_t kWantedWorkspace = 4096;  // of an algorithm, if that much is allowed
constexpr uint64_t kAlgorithm = 0x5eed;

int asked = 0;

// An algorithm has data[0] = kAlgorithm and needs data[1] bytes of workspace, and D aligned to data[2].
bool is_aligned(const void* pointer, uint64_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

struct Shape {
  int64_t m;
  int64_t n;
  int64_t k;
};

bool fits(const EmulatedLtProduct& product, const EmulatedLtLayout& a, const EmulatedLtLayout& b,
          const EmulatedLtLayout& d) {
  if (product.operation_a != CUBLAS_OP_T || product.operation_b != CUBLAS_OP_N) return false;
  if (a.rows != b.rows || a.cols != d.rows || b.cols != d.cols || a.type != b.type || d.type != CUDA_R_32F)
    return false;
  if (a.ld < a.rows || b.ld < b.rows || d.ld < d.rows) return false;
  if (a.type == CUDA_R_16BF) return product.scale_mode_a == 0 && product.scale_mode_b == 0;
  return a.type == CUDA_R_8F_E4M3 && product.scale_mode_a == quire::kLtScalesOf128 &&
         product.scale_mode_b == quire::kLtScalesOf128 && product.scales_a != nullptr && product.scales_b != nullptr &&
         is_aligned(product.scales_a, 16) && is_aligned(product.scales_b, 16) && d.rows % 4 == 0 && d.cols % 4 == 0 &&
         d.ld % 4 == 0 && a.rows % 16 == 0 && a.ld % 16 == 0 && b.ld % 16 == 0;
}

template <typename T>
float number(const void* matrix, int64_t at) {
  const T bits = static_cast<const T*>(matrix)[at];
  if constexpr (sizeof(T) == 1) return quire::e4m3_to_f32(bits);
  if constexpr (sizeof(T) == 2) return quire::bf16_to_f32(bits);
}

// The sum over columns [first, last) of row i of op(A) and column j of B.
template <typename T>
float dot(const void* a, int64_t a_at, const void* b, int64_t b_at, int64_t first, int64_t last) {
  float sum = 0.0f;
  for (int64_t k = first; k < last; ++k) sum += number<T>(a, a_at + k) * number<T>(b, b_at + k);
  return sum;
}

float element(const EmulatedLtProduct& product, const EmulatedLtLayout& a_layout, const void* a,
              const EmulatedLtLayout& b_layout, const void* b, int64_t i, int64_t j) {
  const Shape shape{a_layout.cols, b_layout.cols, a_layout.rows};
  const int64_t a_at = i * a_layout.ld;
  const int64_t b_at = j * b_layout.ld;
  if (a_layout.type == CUDA_R_16BF) return dot<uint16_t>(a, a_at, b, b_at, 0, shape.k);
  float sum = 0.0f;
  for (int64_t first = 0; first < shape.k; first += kScaleColumns) {
    const int64_t last = first + kScaleColumns < shape.k ? first + kScaleColumns : shape.k;
    const int64_t group = first / kScaleColumns;
    const float scale = product.scales_a[group * shape.m + i] * product.scales_b[group * shape.n + j];
    sum += scale * dot<uint8_t>(a, a_at, b, b_at, first, last);
  }
  return sum;
}

template <typename T>
cublasStatus_t set(T& member, const void* value, size_t size_bytes) {
  if (value == nullptr || size_bytes != sizeof member) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&member, value, sizeof member);
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

size_t cublasLtGetVersion() { return quire::kLtMinVersion; }

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "success";
    case CUBLAS_STATUS_INVALID_VALUE: return "invalid value";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "not supported";
  }
  return "unknown";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new EmulatedLt;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
  *layout = new EmulatedLtLayout{type, static_cast<int64_t>(rows), static_cast<int64_t>(cols), ld};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* product, cublasComputeType_t, cudaDataType_t scale) {
  if (scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  *product = new EmulatedLtProduct;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t product) {
  delete product;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t size_bytes) {
  if (attribute == quire::kLtScaleModeOfA) return set(product->scale_mode_a, value, size_bytes);
  if (attribute == quire::kLtScaleModeOfB) return set(product->scale_mode_b, value, size_bytes);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(product->operation_a, value, size_bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return set(product->operation_b, value, size_bytes);
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER: return set(product->scales_a, value, size_bytes);
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER: return set(product->scales_b, value, size_bytes);
    default: return CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new EmulatedLtPreference;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t size_bytes) {
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) return set(preference->workspace_bytes, value, size_bytes);
  const int matrix = attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
  if (matrix < 0 || matrix > 3) return CUBLAS_STATUS_INVALID_VALUE;
  return set(preference->alignment[matrix], value, size_bytes);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results, int* num_results) {
  ++asked;
  *num_results = 0;
  if (handle == nullptr || wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
  const uint32_t* alignment = preference->alignment;
  if (!fits(*product, *a, *b, *d) || alignment[0] < 16 || alignment[1] < 16) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (a->type == CUDA_R_8F_E4M3 && alignment[3] < 16) return CUBLAS_STATUS_NOT_SUPPORTED;
  const size_t workspace = preference->workspace_bytes >= kWantedWorkspace ? kWantedWorkspace : 0;
  results[0] = {.algo = {{kAlgorithm, workspace, alignment[3] < 16 ? 4u : 16u}},
                .workspaceSize = workspace,
                .state = CUBLAS_STATUS_SUCCESS,
                .wavesCount = 1.0f};
  *num_results = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  if (handle == nullptr || algorithm == nullptr || algorithm->data[0] != kAlgorithm || c != d || c_layout != d_layout) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (!fits(*product, *a_layout, *b_layout, *d_layout)) return CUBLAS_STATUS_NOT_SUPPORTED;
  const size_t scribbled = algorithm->data[1];
  if (scribbled > workspace_bytes || !is_aligned(workspace, 256)) return CUBLAS_STATUS_INVALID_VALUE;
  if (!is_aligned(a, 16) || !is_aligned(b, 16) || !is_aligned(d, algorithm->data[2]))
    return CUBLAS_STATUS_INVALID_VALUE;
  const auto work = [=, of = *product, a_of = *a_layout, b_of = *b_layout, d_of = *d_layout,
                     by = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta)] {
    std::memset(workspace, 0xff, scribbled);
    for (int64_t j = 0; j < d_of.cols; ++j) {
      for (int64_t i = 0; i < d_of.rows; ++i) {
        float& to = static_cast<float*>(d)[j * d_of.ld + i];
        const float value = by * element(of, a_of, a, b_of, b, i, j);
        to = keep == 0.0f ? value : value + keep * to;
      }
    }
  };
  quire::emulated::enqueue(stream, work);
  return CUBLAS_STATUS_SUCCESS;
}
// NOLINTEND(readability-identifier-naming)

namespace quire {

namespace emulated {
int num_algorithms_asked() { return asked; }
}  // namespace emulated

const CublasLt& cublaslt() {
  static const CublasLt library = {cublasLtGetVersion,
                                   cublasLtGetStatusString,
                                   cublasLtCreate,
                                   cublasLtDestroy,
                                   cublasLtMatrixLayoutCreate,
                                   cublasLtMatrixLayoutDestroy,
                                   cublasLtMatmulDescCreate,
                                   cublasLtMatmulDescDestroy,
                                   cublasLtMatmulDescSetAttribute,
                                   cublasLtMatmulPreferenceCreate,
                                   cublasLtMatmulPreferenceDestroy,
                                   cublasLtMatmulPreferenceSetAttribute,
                                   cublasLtMatmulAlgoGetHeuristic,
                                   cublasLtMatmul};
  return library;
}

}  // namespace quire
