# Enables CUDA as a language, for preset `cuda`. nvcc is looked for in CUDA_PATH, in /usr/local/cuda and on PATH.
if(NOT CMAKE_CUDA_COMPILER)
  find_program(nvcc nvcc HINTS ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
  if(NOT nvcc)
    message(FATAL_ERROR "The preset \"cuda\" needs nvcc, which is not in CUDA_PATH, /usr/local/cuda or PATH: install "
                        "NVIDIA's CUDA toolkit 13 (package cuda-toolkit-13-0), or use the preset \"release\".")
  endif()
  set(CMAKE_CUDA_COMPILER ${nvcc} CACHE FILEPATH "CUDA compiler")
endif()
# Ampere, and with it Ada, by its own code; Hopper by its own; what came later by Ampere's PTX, which the driver compiles.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90a-real)
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_FLAGS_RELEASE "-O2 -DNDEBUG")
set(cxx_standard ${CMAKE_CXX_STANDARD})  # nvcc's, too; CMake 3.25 does not know how to ask it for C++20
unset(CMAKE_CXX_STANDARD)
enable_language(CUDA)
set(CMAKE_CXX_STANDARD ${cxx_standard})
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
endif()
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.4)
  message(FATAL_ERROR "nvcc ${CMAKE_CUDA_COMPILER_VERSION} at ${CMAKE_CUDA_COMPILER}: Quire needs 12.4 or later.")
endif()
find_package(CUDAToolkit REQUIRED)

# What quire_options is to C++. --fmad=false: see there and src/kernels/cuda/device/gpu.h.
add_library(quire_cuda_options INTERFACE)
target_compile_options(quire_cuda_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CUDA>:--fmad=false;-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Werror,-ffp-contract=off>")
