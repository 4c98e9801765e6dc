#include "kernels/cuda/device/staging.h"

#include <algorithm>

#include "base/check.h"

namespace quire {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

UploadStaging::UploadStaging(Stream stream) : stream_(stream) {
  try {
    for (Buffer& buffer : buffers_) {
      void* memory = nullptr;
      check_gpu(cudaHostAlloc(&memory, kBufferBytes, cudaHostAllocDefault), "pinned memory for uploads");
      buffer.memory = static_cast<std::byte*>(memory);
      check_gpu(cudaEventCreateWithFlags(&buffer.sent, cudaEventDisableTiming), "making an event");
    }
  } catch (...) {
    release();
    throw;
  }
}

UploadStaging::~UploadStaging() {
  cudaStreamSynchronize(stream_);
  release();
}

void UploadStaging::release() noexcept {
  for (Buffer& buffer : buffers_) {
    if (buffer.sent != nullptr) cudaEventDestroy(buffer.sent);
    if (buffer.memory != nullptr) cudaFreeHost(buffer.memory);
  }
}

void UploadStaging::upload(std::byte* to, size_t size_bytes, size_t unit_bytes, const Fill& fill) {
  CHECK(unit_bytes > 0 && unit_bytes <= kBufferBytes);
  for (size_t first = 0; first < size_bytes;) {
    const size_t left = size_bytes - first;
    if (kBufferBytes - used_bytes_ < std::min(unit_bytes, left)) switch_buffers();
    const size_t room = kBufferBytes - used_bytes_;
    const size_t size = left <= room ? left : room / unit_bytes * unit_bytes;
    std::byte* const piece = buffers_[current_].memory + used_bytes_;
    fill(first, {piece, size});
    check_gpu(cudaMemcpyAsync(to + first, piece, size, cudaMemcpyHostToDevice, stream_), "uploading");
    used_bytes_ = std::min(kBufferBytes, (used_bytes_ + size + kAlignment - 1) / kAlignment * kAlignment);
    first += size;
  }
}

// Switches to the other buffer, after it has been sent.
void UploadStaging::switch_buffers() {
  check_gpu(cudaEventRecord(buffers_[current_].sent, stream_), "recording an event");
  current_ = 1 - current_;
  used_bytes_ = 0;
  check_gpu(cudaEventSynchronize(buffers_[current_].sent), "waiting for an upload");
}

}  // namespace quire
