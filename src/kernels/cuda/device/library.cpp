#include "kernels/cuda/device/library.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "kernels/cuda/matmul/compact_rows.h"

namespace quire {
namespace {

constexpr int64_t kMaxPreparedRows = 8192;
constexpr uint32_t kOperandAlignment = 16;

}  // namespace

// The library's matrices are column-major: a row-major matrix is its transpose there. With A = weights^T and B = x^T,
// D = op(A) * B is y^T, A being transposed.
struct MatmulLibrary::Description {
  explicit Description(const MatmulLibrary& of) : library(of) {}
  Description(const MatmulLibrary& of, const Key& key, int64_t y_stride) : Description(of) {
    const CublasLt& lt = library.lt_;
    const cudaDataType type = key.format == Format::kBF16 ? CUDA_R_16BF : CUDA_R_8F_E4M3;
    const auto rows = static_cast<uint64_t>(key.rows);
    const auto cols = static_cast<uint64_t>(key.cols);
    const auto num_rows = static_cast<uint64_t>(key.num_rows);
    library.check(lt.create_product(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
    library.check(lt.create_layout(&weights, type, cols, rows, key.cols), "describing weights");
    library.check(lt.create_layout(&x, type, cols, num_rows, key.x_stride), "describing rows");
    library.check(lt.create_layout(&y, CUDA_R_32F, rows, num_rows, y_stride), "describing results");
    set(CUBLASLT_MATMUL_DESC_TRANSA, static_cast<int32_t>(CUBLAS_OP_T));
    set(CUBLASLT_MATMUL_DESC_TRANSB, static_cast<int32_t>(CUBLAS_OP_N));
    if (key.format == Format::kBF16) return;
    set(kLtScaleModeOfA, kLtScalesOf128);
    set(kLtScaleModeOfB, kLtScalesOf128);
  }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;
  ~Description() {
    const CublasLt& lt = library.lt_;
    if (y != nullptr) lt.destroy_layout(y);
    if (x != nullptr) lt.destroy_layout(x);
    if (weights != nullptr) lt.destroy_layout(weights);
    if (product != nullptr) lt.destroy_product(product);
  }

  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, T value) {
    library.check(library.lt_.set_product(product, attribute, &value, sizeof value), "describing a product");
  }
  void set_scales(const float* of_weights, const float* of_x) {
    set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, of_weights);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, of_x);
  }

  const MatmulLibrary& library;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t weights = nullptr;
  cublasLtMatrixLayout_t x = nullptr;
  cublasLtMatrixLayout_t y = nullptr;
};

MatmulLibrary::MatmulLibrary() : lt_(cublaslt()) { check(lt_.create(&handle_), "starting the library"); }

MatmulLibrary::~MatmulLibrary() { lt_.destroy(handle_); }

std::string MatmulLibrary::description() const {
  const size_t version = lt_.get_version();
  return fmt::format("cuBLASLt {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

void MatmulLibrary::check(cublasStatus_t status, const char* what) const {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail(ErrorCode::kIo, "cuBLASLt: {}: {} ({})", what, lt_.status_string(status), static_cast<int>(status));
}

MatmulLibrary::Key MatmulLibrary::key_of(const LibraryProduct& product) {
  return {.format = product.format,
          .rows = product.rows,
          .cols = product.cols,
          .x_stride = product.x_stride,
          .num_rows = product.num_rows,
          .in_fours = reinterpret_cast<uintptr_t>(product.y) % 16 == 0 && product.y_stride % 4 == 0};
}

// The algorithm that was chosen for exactly these rows, or else the one for the next power of two.
const cublasLtMatmulAlgo_t& MatmulLibrary::algorithm(const Key& key) {
  if (const auto found = algorithms_.find(key); found != algorithms_.end()) return found->second;
  Key rounded = key;
  rounded.num_rows = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(key.num_rows)));
  if (const auto found = algorithms_.find(rounded); found != algorithms_.end()) return found->second;
  return algorithms_.emplace(rounded, choose_algorithm(rounded)).first->second;
}

cublasLtMatmulAlgo_t MatmulLibrary::choose_algorithm(const Key& key) const {
  // The library needs an address, but reads nothing now; products pass their own.
  alignas(16) static constexpr float kPlaceholder[4] = {};
  Description of(*this, key, key.in_fours ? ceil_div(key.rows, 4) * 4 : key.rows);
  if (key.format != Format::kBF16) of.set_scales(kPlaceholder, kPlaceholder);
  cublasLtMatmulPreference_t preference = nullptr;
  check(lt_.create_preference(&preference), "asking for an algorithm");
  const uint64_t workspace = kWorkspaceBytes;
  const uint32_t operand = kOperandAlignment;
  const uint32_t result = key.in_fours ? 16 : 4;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  const auto set_preference = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    if (status == CUBLAS_STATUS_SUCCESS) status = lt_.set_preference(preference, attribute, &value, sizeof value);
  };
  set_preference(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace);
  set_preference(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, operand);
  set_preference(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, operand);
  set_preference(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, result);
  set_preference(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, result);
  cublasLtMatmulHeuristicResult_t found{};
  int num_found = 0;
  if (status == CUBLAS_STATUS_SUCCESS) {
    status = lt_.find_algorithm(handle_, of.product, of.weights, of.x, of.y, of.y, preference, 1, &found, &num_found);
  }
  lt_.destroy_preference(preference);
  if (status == CUBLAS_STATUS_SUCCESS && num_found > 0) status = found.state;
  if (status != CUBLAS_STATUS_SUCCESS || num_found == 0) {
    fail(ErrorCode::kUnsupported, "cuBLASLt has no kernel that multiplies {} rows by {} {}x{}: {}", key.num_rows,
         weight_format(key.format).name, key.rows, key.cols, lt_.status_string(status));
  }
  return found.algo;
}

void MatmulLibrary::multiply(const LibraryProduct& product, std::byte* workspace, Stream stream) {
  const Key key = key_of(product);
  Description of(*this, key, product.y_stride);
  if (product.format != Format::kBF16) of.set_scales(product.weight_scales, product.x_scales);
  const float factor = 1.0f;
  const float keep = product.accumulate ? 1.0f : 0.0f;
  const auto try_with = [&](const cublasLtMatmulAlgo_t& algorithm) {
    return lt_.multiply(handle_, of.product, &factor, product.weights, of.weights, product.x, of.x, &keep, product.y,
                        of.y, product.y, of.y, &algorithm, workspace, kWorkspaceBytes, stream);
  };
  cublasStatus_t status = try_with(algorithm(key));
  // An algorithm for the power of two may not support fewer rows.
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
    status = try_with(algorithms_.insert_or_assign(key, choose_algorithm(key)).first->second);
  }
  check(status, "multiplying");
}

void MatmulLibrary::prepare(Format format, int64_t rows, int64_t cols) {
  LibraryProduct product{.format = format, .rows = rows, .cols = cols, .y_stride = rows};
  product.x_stride = format == Format::kBF16 ? compact_row_bytes(cols) / 2 : cols;
  for (int64_t num_rows = format == Format::kBF16 ? 1 : 4; num_rows <= kMaxPreparedRows; num_rows *= 2) {
    product.num_rows = num_rows;
    algorithm(key_of(product));
  }
}

}  // namespace quire
