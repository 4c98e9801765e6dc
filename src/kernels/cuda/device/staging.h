// Pinned memory between the host and the device: two buffers, one of which is copied while the other is filled, so that
// large uploads run at the speed of the link. Owned by the device; one thread at a time, never within a recording.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "kernels/cuda/device/gpu.h"

namespace quire {

class UploadStaging {
 public:
  static constexpr size_t kBufferBytes = size_t{16} << 20;

  // Throws Error when the system gives no pinned memory. Uploads are ordered with the other work of the stream.
  explicit UploadStaging(Stream stream);
  UploadStaging(const UploadStaging&) = delete;
  UploadStaging& operator=(const UploadStaging&) = delete;
  ~UploadStaging();

  // Writes the bytes [first, first + piece.size()) of the upload.
  using Fill = std::function<void(size_t first, std::span<std::byte> piece)>;
  // Has `fill` write the size_bytes of `to` in pieces of whole units (at most kBufferBytes), each exactly once, in
  // order, and sends them. A piece begins on a 64-byte boundary; its initial contents are arbitrary.
  void upload(std::byte* to, size_t size_bytes, size_t unit_bytes, const Fill& fill);

 private:
  struct Buffer {
    std::byte* memory = nullptr;
    cudaEvent_t sent = nullptr;  // has left the buffer
  };

  void switch_buffers();
  void release() noexcept;

  Stream stream_;
  Buffer buffers_[2];
  int current_ = 0;
  size_t used_bytes_ = 0;  // of the buffer that is being filled
};

}  // namespace quire
