#include "kernels/cuda/device/device.h"

#include <cstring>
#include <map>
#include <optional>

#include "base/error.h"
#include "kernels/cuda/device/gpu.h"
#include "kernels/cuda/device/library.h"
#include "kernels/cuda/device/staging.h"

namespace quire {
namespace {

constexpr int kMinMajor = 8;  // bf16 tensor cores, cp.async

double mib(size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

struct Properties {
  std::string name;
  int major = 0;
  int minor = 0;
};

Properties find_device(int index) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    cudaGetLastError();
    fail(ErrorCode::kUnsupported, "no CUDA device: {}; check `nvidia-smi` and the driver, or compute on the CPU",
         error == cudaSuccess ? "the driver shows none" : cudaGetErrorString(error));
  }
  if (index >= count) {
    fail(ErrorCode::kUnsupported, "CUDA device {} is needed, but {} are visible (CUDA_VISIBLE_DEVICES)", index,
         count == 1 ? "1 is" : fmt::format("{} are", count));
  }
  cudaDeviceProp found{};
  check_gpu(cudaGetDeviceProperties(&found, index), "reading the properties of a device");
  if (found.major < kMinMajor) {
    fail(ErrorCode::kUnsupported,
         "device {} is {} of compute capability {}.{}; Quire needs {}.0 or later (Ampere): choose another with "
         "CUDA_VISIBLE_DEVICES, or compute on the CPU",
         index, found.name, found.major, found.minor, kMinMajor);
  }
  return {found.name, found.major, found.minor};
}

// Graphs take memory that is not planned, about a megabyte each. Each kind of step has two, one per slot of staging
// memory.
constexpr size_t kMaxRecordings = 256;

class CudaDevice : public Device {
 public:
  CudaDevice(bool with_library, int index);
  ~CudaDevice() override;

  std::string description() const override { return description_; }
  bool is_host() const override { return false; }
  uint64_t free_bytes() const override;
  void* stream() override { return &stream_; }

  std::byte* allocate(size_t size_bytes) override;
  void release(std::byte* memory) noexcept override { cudaFree(memory); }
  std::byte* allocate_staging(size_t size_bytes) override;
  void release_staging(std::byte* memory) noexcept override;

  void upload(std::byte* to, const std::byte* from, size_t size_bytes) override;
  void upload_staged(std::byte* to, const std::byte* from, size_t size_bytes) override;
  void download_staged(std::byte* to, const std::byte* from, size_t size_bytes) override;
  void download(std::byte* to, const std::byte* from, size_t size_bytes) override;
  void copy(std::byte* to, const std::byte* from, size_t size_bytes) override;
  void synchronize() override { check_gpu(cudaStreamSynchronize(stream_.stream), "computing"); }
  void mark(int index) override { check_gpu(cudaEventRecord(marks_[index], stream_.stream), "marking a step"); }
  void wait_for(int index) override { check_gpu(cudaEventSynchronize(marks_[index]), "computing"); }
  bool records() const override { return true; }
  void run(uint64_t key, const std::function<void()>& body) override;

 private:
  cudaGraphExec_t record(const std::function<void()>& body);
  void release() noexcept;

  std::string description_;
  GpuStream stream_;
  cudaEvent_t marks_[kNumMarks] = {};
  std::optional<UploadStaging> staging_;
  std::optional<MatmulLibrary> library_;
  std::map<uint64_t, cudaGraphExec_t> recordings_;  // null: has run once
};

CudaDevice::CudaDevice(bool with_library, int index) {
  const Properties found = find_device(index);
  check_gpu(cudaSetDevice(index), "choosing a device");
  description_ = fmt::format("{}, compute capability {}.{}", found.name, found.major, found.minor);
  if (with_library) library_.emplace();
  try {
    check_gpu(cudaStreamCreateWithFlags(&stream_.stream, cudaStreamNonBlocking), "making a stream");
    for (cudaEvent_t& mark : marks_) {
      check_gpu(cudaEventCreateWithFlags(&mark, cudaEventDisableTiming), "making an event");
    }
    staging_.emplace(stream_.stream);
  } catch (...) {
    release();
    throw;
  }
  stream_.staging = &*staging_;
  if (!library_) return;
  stream_.library = &*library_;
  description_ += ", " + library_->description();
}

CudaDevice::~CudaDevice() {
  staging_.reset();
  for (const auto& [key, recording] : recordings_) {
    if (recording != nullptr) cudaGraphExecDestroy(recording);
  }
  release();
}

void CudaDevice::release() noexcept {
  for (cudaEvent_t mark : marks_) {
    if (mark != nullptr) cudaEventDestroy(mark);
  }
  if (stream_.stream != nullptr) cudaStreamDestroy(stream_.stream);
}

uint64_t CudaDevice::free_bytes() const {
  size_t free = 0;
  size_t total = 0;
  check_gpu(cudaMemGetInfo(&free, &total), "asking for free memory");
  return free;
}

std::byte* CudaDevice::allocate(size_t size_bytes) {
  if (size_bytes == 0) return nullptr;
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, size_bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    fail(ErrorCode::kOutOfMemory, "{}: {:.1f} MiB of memory needed, {:.1f} MiB free", description_, mib(size_bytes),
         mib(free_bytes()));
  }
  check_gpu(error, "allocating memory");
  check_gpu(cudaMemsetAsync(memory, 0, size_bytes, stream_.stream), "clearing memory");
  return static_cast<std::byte*>(memory);
}

std::byte* CudaDevice::allocate_staging(size_t size_bytes) {
  if (size_bytes == 0) return nullptr;
  void* memory = nullptr;
  if (cudaHostAlloc(&memory, size_bytes, cudaHostAllocDefault) != cudaSuccess) {
    cudaGetLastError();
    fail(ErrorCode::kOutOfMemory, "{:.1f} MiB of pinned host memory cannot be allocated; see ulimit -l",
         mib(size_bytes));
  }
  std::memset(memory, 0, size_bytes);
  return static_cast<std::byte*>(memory);
}

// The device may still read it.
void CudaDevice::release_staging(std::byte* memory) noexcept {
  if (memory == nullptr) return;
  cudaStreamSynchronize(stream_.stream);
  cudaFreeHost(memory);
}

void CudaDevice::upload(std::byte* to, const std::byte* from, size_t size_bytes) {
  staging_->upload(to, size_bytes, 1, [from](size_t first, std::span<std::byte> piece) {
    std::memcpy(piece.data(), from + first, piece.size());
  });
}

void CudaDevice::upload_staged(std::byte* to, const std::byte* from, size_t size_bytes) {
  if (size_bytes == 0) return;
  check_gpu(cudaMemcpyAsync(to, from, size_bytes, cudaMemcpyHostToDevice, stream_.stream), "uploading");
}

void CudaDevice::download_staged(std::byte* to, const std::byte* from, size_t size_bytes) {
  if (size_bytes == 0) return;
  check_gpu(cudaMemcpyAsync(to, from, size_bytes, cudaMemcpyDeviceToHost, stream_.stream), "downloading");
}

void CudaDevice::download(std::byte* to, const std::byte* from, size_t size_bytes) {
  download_staged(to, from, size_bytes);
  synchronize();
}

void CudaDevice::copy(std::byte* to, const std::byte* from, size_t size_bytes) {
  if (size_bytes == 0) return;
  check_gpu(cudaMemcpyAsync(to, from, size_bytes, cudaMemcpyDeviceToDevice, stream_.stream), "copying");
}

// The first run of a key is not recorded, because kernels are loaded when they first run, which must not happen while
// recording. Nothing is recorded beyond the limit.
void CudaDevice::run(uint64_t key, const std::function<void()>& body) {
  if (key == 0) return body();
  const auto entry = recordings_.find(key);
  if (entry == recordings_.end()) {
    body();
    if (recordings_.size() >= kMaxRecordings) return;
    recordings_.emplace(key, nullptr);
    return;
  }
  if (entry->second == nullptr) entry->second = record(body);
  check_gpu(cudaGraphLaunch(entry->second, stream_.stream), "replaying a recorded step");
}

cudaGraphExec_t CudaDevice::record(const std::function<void()>& body) {
  // Restricts this thread only: other threads may allocate meanwhile.
  check_gpu(cudaStreamBeginCapture(stream_.stream, cudaStreamCaptureModeThreadLocal), "recording a step");
  cudaGraph_t graph = nullptr;
  try {
    body();
  } catch (...) {
    if (cudaStreamEndCapture(stream_.stream, &graph) == cudaSuccess) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check_gpu(cudaStreamEndCapture(stream_.stream, &graph), "recording a step");
  cudaGraphExec_t recording = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&recording, graph, 0);
  cudaGraphDestroy(graph);
  check_gpu(error, "preparing a recorded step");
  return recording;
}

}  // namespace

std::unique_ptr<Device> make_cuda_device(bool with_library, int index) {
  return std::make_unique<CudaDevice>(with_library, index);
}

}  // namespace quire
