# The CUDA table: its kernels are .cu files that nvcc compiles under preset `cuda`, and that g++ compiles for the
# emulation (cuda/emulated.h) everywhere else, for tests only.

# .cu files hold kernels, .cpp files only what runs on the host.
set(cuda_sources
  cuda/attention.cu
  cuda/attention_bf16.cu
  cuda/attention_f16.cu
  cuda/attention_merge.cu
  cuda/attention_mixed.cu
  cuda/attention_plain.cu
  cuda/attention_share.cu
  cuda/cuda.cpp
  cuda/dense_matmul.cpp
  cuda/dense_rows.cu
  cuda/device.cpp
  cuda/embedding.cu
  cuda/experts.cu
  cuda/gpu.cpp
  cuda/library.cpp
  cuda/matmul.cpp
  cuda/matmul_f32.cu
  cuda/matmul_halves.cu
  cuda/matmul_int4.cu
  cuda/matmul_int4_sub.cu
  cuda/matmul_int8.cu
  cuda/matmul_int8_sub.cu
  cuda/matmul_levels.cu
  cuda/pack.cpp
  cuda/rope.cu
  cuda/rows.cu
  cuda/sampling.cu
  cuda/staging.cpp
  cuda/write_kv.cu)
set(cuda_tests
  cuda/attention_test.cu
  cuda/dense_matmul_test.cpp
  cuda/device_test.cpp
  cuda/embedding_test.cpp
  cuda/experts_test.cpp
  cuda/gpu_test.cu
  cuda/matmul_test.cpp
  cuda/rows_test.cpp
  cuda/write_kv_test.cu)

if(QUIRE_CUDA)
  target_sources(quire_kernels PRIVATE ${cuda_sources} cuda/cublaslt.cpp)
  target_compile_definitions(quire_kernels PRIVATE QUIRE_CUDA_TABLE)
  target_link_libraries(quire_kernels PRIVATE quire_cuda_options CUDA::cudart_static ${CMAKE_DL_LIBS})
  if(QUIRE_BUILD_TESTS)
    quire_test(quire_kernels_cuda_test SOURCES ${cuda_tests} cuda/cublaslt_test.cpp
               DEPS quire_kernels quire_cuda_options CUDA::cudart_static)
    add_executable(quire_kernels_cuda_bench cuda/bench_loops.cu cuda/cuda_bench.cpp)
    target_link_libraries(quire_kernels_cuda_bench PRIVATE quire_kernels quire_cuda_options CUDA::cudart_static
                          quire_options GTest::gtest)
  endif()
  return()
endif()

# The switch between fibers is written for x86-64; ThreadSanitizer would have to be told of it, and there is one thread.
if(QUIRE_BUILD_TESTS AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT QUIRE_SANITIZE MATCHES thread)
  list(APPEND cuda_tests cuda/emulation_test.cu)
  set(cuda_as_cpp ${cuda_sources} ${cuda_tests})
  list(FILTER cuda_as_cpp INCLUDE REGEX "\\.cu$")
  set_source_files_properties(${cuda_as_cpp} PROPERTIES LANGUAGE CXX)
  # Half of the time of emulated kernels, and no branches to debug.
  set_source_files_properties(cuda/emulated_warp.cpp PROPERTIES COMPILE_OPTIONS -O3)
  # For every test that wants a device: the table, its device and what they stand on.
  add_library(quire_kernels_cuda_emulated STATIC
    ${cuda_sources} cuda/emulated_cublaslt.cpp cuda/emulated_fibers.cpp cuda/emulated_runtime.cpp cuda/emulated_warp.cpp)
  target_link_libraries(quire_kernels_cuda_emulated PUBLIC quire_kernels PRIVATE quire_options)
  target_compile_definitions(quire_kernels_cuda_emulated PUBLIC QUIRE_GPU_EMULATED)
  # Kernels read the same memory as numbers of several types, which CUDA allows; `unroll` is a pragma of nvcc.
  target_compile_options(quire_kernels_cuda_emulated PUBLIC -fno-strict-aliasing -Wno-unknown-pragmas)
  quire_test(quire_kernels_cuda_test SOURCES ${cuda_tests} DEPS quire_kernels_cuda_emulated)
endif()
