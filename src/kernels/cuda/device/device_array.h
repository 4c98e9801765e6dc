// For tests of device code: an array in device memory, filled and read from the host. Begins as bytes of 0xff: NaN for
// floats, -1 for integers. All of it runs on the stream of gpu_exec(), so reads see everything that kernels wrote
// before.
#pragma once

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "kernels/cuda/device/gpu.h"
#include "kernels/cuda/device/staging.h"

namespace quire {

inline bool gpu_present() {
  int count = 0;
  const bool present = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
  cudaGetLastError();
  return present;
}

// The stream on which the table's entries run in tests; needs a device. One thread.
inline Exec gpu_exec() {
  static const auto made = [] {
    Stream stream = nullptr;
    if (!gpu_present()) return GpuStream{};
    check_gpu(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    return GpuStream{stream, new UploadStaging(stream)};  // both live as long as the program
  }();
  return Exec{.run =
                  [](void*, int64_t num_tiles, Exec::Body body, void* context) {
                    for (int64_t tile = 0; tile < num_tiles; ++tile) body(context, tile, 0);
                  },
              .pool = nullptr,
              .num_threads = 1,
              .stream = const_cast<GpuStream*>(&made)};
}

// Base of every test that needs a device.
class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!gpu_present()) GTEST_SKIP() << "no CUDA device on this machine";
  }
};

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size) {
    void* memory = nullptr;
    check_gpu(cudaMalloc(&memory, size * sizeof(T)), "memory of a test");
    data_ = static_cast<T*>(memory);
    check_gpu(cudaMemsetAsync(data_, 0xff, size * sizeof(T), gpu_stream(gpu_exec())), "filling");
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { upload(values); }
  DeviceArray(DeviceArray&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }

  // The first values.size() elements.
  void upload(const std::vector<T>& values) {
    const Stream stream = gpu_stream(gpu_exec());
    check_gpu(cudaMemcpyAsync(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice, stream),
              "uploading");
    check_gpu(cudaStreamSynchronize(stream), "uploading");
  }
  std::vector<T> download() const {
    std::vector<T> values(size_);
    const Stream stream = gpu_stream(gpu_exec());
    check_gpu(cudaMemcpyAsync(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost, stream), "downloading");
    check_gpu(cudaStreamSynchronize(stream), "running kernels");
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t size_;
};

}  // namespace quire
