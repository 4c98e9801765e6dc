// The functions of NVIDIA's cuBLASLt that Quire calls. The library (half a gigabyte) is opened at run time, and only
// when it is needed, so that programs start without it. In the emulator the functions are loops on the CPU
// (emulated_cublaslt.h). Reference: NVIDIA's cuBLAS manual, "Using the cuBLASLt API".
#pragma once

#ifdef QUIRE_GPU_EMULATED
#include "kernels/cuda/emulator/emulated_cublaslt.h"
#else
#include <cublasLt.h>
#endif

#include <cstddef>
#include <span>

namespace quire {

// Selects float scales for 128 columns of each row of a matrix of 8-bit floats. Their layout is [k / 128, rows of op(A)
// or columns of op(B)]. Available since 12.9; older headers lack the names.
inline constexpr auto kLtScaleModeOfA = static_cast<cublasLtMatmulDescAttributes_t>(31);
inline constexpr auto kLtScaleModeOfB = static_cast<cublasLtMatmulDescAttributes_t>(32);
inline constexpr int32_t kLtScalesOf128 = 4;
inline constexpr size_t kLtMinVersion = 120900;
#if defined(CUBLAS_VERSION) && CUBLAS_VERSION >= 120900
static_assert(kLtScaleModeOfA == CUBLASLT_MATMUL_DESC_A_SCALE_MODE);
static_assert(kLtScaleModeOfB == CUBLASLT_MATMUL_DESC_B_SCALE_MODE);
static_assert(kLtScalesOf128 == CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F);
#endif

struct CublasLt {
  decltype(&cublasLtGetVersion) get_version;
  decltype(&cublasLtGetStatusString) status_string;
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtMatrixLayoutCreate) create_layout;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout;
  decltype(&cublasLtMatmulDescCreate) create_product;
  decltype(&cublasLtMatmulDescDestroy) destroy_product;
  decltype(&cublasLtMatmulDescSetAttribute) set_product;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference;
  decltype(&cublasLtMatmulAlgoGetHeuristic) find_algorithm;
  decltype(&cublasLtMatmul) multiply;
};

// Opens the library once for the rest of the process. Throws Error that lists the files tried and what to install.
const CublasLt& cublaslt();

#ifndef QUIRE_GPU_EMULATED
// Opens the first of the files that can be opened.
CublasLt open_cublaslt(std::span<const char* const> files);
#endif

}  // namespace quire
