# The CUDA table: its kernels are .cu files that nvcc compiles under preset `cuda` and g++ compiles for the emulation
# (cuda/emulated.h) everywhere else, for the tests only.

# Every file of the table; .cu files hold kernels, .cpp files only what runs on the host.
set(cuda_sources
  cuda/gpu.cpp
  cuda/attention.cu cuda/attention_bf16.cu cuda/attention_f16.cu cuda/attention_merge.cu cuda/attention_mixed.cu
  cuda/attention_plain.cu cuda/sampling.cu cuda/write_kv.cu)
set(cuda_tests
  cuda/gpu_test.cu
  cuda/attention_test.cu cuda/write_kv_test.cu
  ${PROJECT_SOURCE_DIR}/tests/cuda_sampling_test.cu)

# The switch between fibers is written for x86-64; ThreadSanitizer would have to be told of it, and there is one thread.
if(QUIRE_BUILD_TESTS AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT QUIRE_SANITIZE MATCHES thread)
  # nvcc must not be asked for: to CMake these are C++ files.
  set(cuda_as_cpp ${cuda_sources} ${cuda_tests})
  list(FILTER cuda_as_cpp INCLUDE REGEX "\\.cu$")
  set_source_files_properties(${cuda_as_cpp} PROPERTIES LANGUAGE CXX)
  quire_test(quire_kernels_cuda_test
    SOURCES ${cuda_sources} ${cuda_tests} cuda/emulated_fibers.cpp cuda/emulated_runtime.cpp cuda/emulated_warp.cpp
    DEPS quire_decoding quire_kernels)
  target_compile_definitions(quire_kernels_cuda_test PRIVATE QUIRE_GPU_EMULATED)
  target_compile_options(quire_kernels_cuda_test PRIVATE -Wno-unknown-pragmas)  # nvcc's unroll
endif()
