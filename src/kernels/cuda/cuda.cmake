# The CUDA table: its kernels are .cu files that nvcc compiles under preset `cuda`, and that g++ compiles for the
# emulation (cuda/emulator/emulated.h) everywhere else, for tests only.

# .cu files hold kernels, .cpp files only what runs on the host.
set(cuda_sources
  cuda/attention/attention.cu
  cuda/attention/attention_bf16.cu
  cuda/attention/attention_f16.cu
  cuda/attention/attention_merge.cu
  cuda/attention/attention_mixed.cu
  cuda/attention/attention_plain.cu
  cuda/attention/attention_share.cu
  cuda/cuda.cpp
  cuda/matmul/dense_matmul.cpp
  cuda/matmul/dense_rows.cu
  cuda/device/device.cpp
  cuda/rows/embedding.cu
  cuda/matmul/experts.cu
  cuda/device/gpu.cpp
  cuda/device/library.cpp
  cuda/matmul/matmul.cpp
  cuda/matmul/matmul_f32.cu
  cuda/matmul/matmul_halves.cu
  cuda/matmul/matmul_int4.cu
  cuda/matmul/matmul_int4_sub.cu
  cuda/matmul/matmul_int8.cu
  cuda/matmul/matmul_int8_sub.cu
  cuda/matmul/matmul_levels.cu
  cuda/matmul/pack.cpp
  cuda/rows/rope.cu
  cuda/rows/rows.cu
  cuda/rows/sampling.cu
  cuda/device/staging.cpp
  cuda/attention/write_kv.cu)
set(cuda_tests
  cuda/attention/attention_test.cu
  cuda/matmul/dense_matmul_test.cpp
  cuda/device/device_test.cpp
  cuda/rows/embedding_test.cpp
  cuda/matmul/experts_test.cpp
  cuda/device/gpu_test.cu
  cuda/matmul/matmul_test.cpp
  cuda/rows/rows_test.cpp
  cuda/attention/write_kv_test.cu)

if(QUIRE_CUDA)
  target_sources(quire_kernels PRIVATE ${cuda_sources} cuda/matmul/cublaslt.cpp)
  target_compile_definitions(quire_kernels PRIVATE QUIRE_CUDA_TABLE)
  target_link_libraries(quire_kernels PRIVATE quire_cuda_options CUDA::cudart_static ${CMAKE_DL_LIBS})
  if(QUIRE_BUILD_TESTS)
    quire_test(quire_kernels_cuda_test SOURCES ${cuda_tests} cuda/matmul/cublaslt_test.cpp
               DEPS quire_kernels quire_cuda_options CUDA::cudart_static)
    add_executable(quire_kernels_cuda_bench cuda/bench/bench_loops.cu cuda/bench/cuda_bench.cpp)
    target_link_libraries(quire_kernels_cuda_bench PRIVATE quire_kernels quire_cuda_options CUDA::cudart_static
                          quire_options GTest::gtest)
  endif()
  return()
endif()

# The switch between fibers is written for x86-64; ThreadSanitizer would have to be told of it, and there is one thread.
if(QUIRE_BUILD_TESTS AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT QUIRE_SANITIZE MATCHES thread)
  list(APPEND cuda_tests cuda/emulator/emulation_test.cu)
  set(cuda_as_cpp ${cuda_sources} ${cuda_tests})
  list(FILTER cuda_as_cpp INCLUDE REGEX "\\.cu$")
  set_source_files_properties(${cuda_as_cpp} PROPERTIES LANGUAGE CXX)
  # Half of the time of emulated kernels, and no branches to debug. These files are the machine and not what is tested on
  # it: undefined behaviour is looked for in kernels, and what asynchronous copies read and write is checked here too.
  set_source_files_properties(cuda/emulator/emulated_fibers.cpp PROPERTIES
                              COMPILE_OPTIONS "-O3;-fno-sanitize=undefined")
  set_source_files_properties(cuda/emulator/emulated_warp.cpp PROPERTIES COMPILE_OPTIONS "-O3;-fno-sanitize=all")
  # For every test that wants a device: the table, its device and what they stand on.
  add_library(quire_kernels_cuda_emulated STATIC
    ${cuda_sources} cuda/emulator/emulated_cublaslt.cpp cuda/emulator/emulated_fibers.cpp cuda/emulator/emulated_runtime.cpp cuda/emulator/emulated_warp.cpp)
  target_link_libraries(quire_kernels_cuda_emulated PUBLIC quire_kernels PRIVATE quire_options)
  target_compile_definitions(quire_kernels_cuda_emulated PUBLIC QUIRE_GPU_EMULATED)
  # Kernels read the same memory as numbers of several types, which CUDA allows; `unroll` is a pragma of nvcc.
  target_compile_options(quire_kernels_cuda_emulated PUBLIC -fno-strict-aliasing -Wno-unknown-pragmas)
  quire_test(quire_kernels_cuda_test SOURCES ${cuda_tests} DEPS quire_kernels_cuda_emulated SHARDS 4)
endif()
