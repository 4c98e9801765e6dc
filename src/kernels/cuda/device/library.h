// Products by NVIDIA's cuBLASLt. It chooses a kernel by the shape and the number of rows, so a row's bits depend on the
// batch: only for tables made without one answer.
//
// An algorithm is chosen once per shape and number of rows, rounded up to a power of two, and kept. Owned by the
// device; used by the thread that queues its work.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "kernels/cuda/device/gpu.h"
#include "kernels/cuda/matmul/cublaslt.h"

namespace quire {

// y[t][o] = x[t] * weights[o] (+ y[t][o]).
struct LibraryProduct {
  Format format = Format::kBF16;         // of weights and rows: kBF16, or kF8_E4M3 with scales
  int64_t rows = 0;                      // of weights
  int64_t cols = 0;                      // multiplied; a multiple of 8, F8_E4M3: of 128
  const std::byte* weights = nullptr;    // [rows, cols]
  const float* weight_scales = nullptr;  // [cols / 128, rows]
  const std::byte* x = nullptr;          // [num_rows, x_stride]
  const float* x_scales = nullptr;       // [cols / 128, num_rows]
  int64_t x_stride = 0;                  // elements between rows, a multiple of 16 bytes
  int64_t num_rows = 0;                  // F8_E4M3: a multiple of 4, like `rows`
  float* y = nullptr;                    // [num_rows, y_stride]
  int64_t y_stride = 0;
  bool accumulate = false;
};

class MatmulLibrary {
 public:
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what the manual recommends for Hopper
  static constexpr size_t kWorkspaceAlignment = 256;

  // Throws Error where there is no library (cublaslt.h).
  MatmulLibrary();
  MatmulLibrary(const MatmulLibrary&) = delete;
  MatmulLibrary& operator=(const MatmulLibrary&) = delete;
  ~MatmulLibrary();

  std::string description() const;  // "cuBLASLt 13.1.0"
  // Queues the product; workspace of kWorkspaceBytes, aligned to kWorkspaceAlignment. Throws Error where the library
  // has no kernel for it.
  void multiply(const LibraryProduct& product, std::byte* workspace, Stream stream);
  // Finds algorithms for the usual products of steps, with contiguous y [num_rows, rows] and any number of rows. Throws
  // Error as multiply does, but when a model is loaded instead of in a step.
  void prepare(Format format, int64_t rows, int64_t cols);

 private:
  struct Key {
    Format format;
    int64_t rows;
    int64_t cols;
    int64_t x_stride;
    int64_t num_rows;
    bool in_fours;  // y
    auto operator<=>(const Key&) const = default;
  };
  struct Description;  // of a product, in the library's types

  static Key key_of(const LibraryProduct& product);
  const cublasLtMatmulAlgo_t& algorithm(const Key& key);
  cublasLtMatmulAlgo_t choose_algorithm(const Key& key) const;
  void check(cublasStatus_t status, const char* what) const;

  const CublasLt& lt_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace quire
