// The device on which a kernel table computes: its memory, copies to and from it, and the order of its work.
//
// The host is the first implementation: its memory is the program's own, copies are plain, and work is complete when a
// call returns. Other devices have a stream: work runs in the order in which it was queued, later; only download,
// synchronize and wait_for wait. Owned by the model runner; one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>

#include "tensor/aligned_buffer.h"

namespace quire {

class Device {
 public:
  Device() = default;
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  virtual std::string description() const = 0;  // "cpu", "NVIDIA H200, compute capability 9.0"
  virtual bool is_host() const = 0;             // its memory is the host's
  virtual uint64_t free_bytes() const = 0;      // that can be allocated; unlimited on the host
  virtual void* stream() = 0;                   // Exec::stream

  // Zeroed, 256-byte aligned. Throws Error kOutOfMemory with the size when there is not enough.
  virtual std::byte* allocate(size_t size_bytes) = 0;
  virtual void release(std::byte* memory) noexcept = 0;
  // See AlignedBuffer::populate_pages; nothing to do where memory is there as soon as it is allocated.
  virtual void populate(std::byte* /*memory*/, const std::stop_token& /*stop*/) {}
  // See AlignedBuffer::spread_over_nodes; nothing to do where memory is near to all that computes.
  virtual void spread_over_nodes(std::byte* /*memory*/) {}
  // Has the page of this address, which is zeroed, there before its first use; nothing to do where memory is there as
  // soon as it is allocated. Any thread.
  virtual void provide_page(std::byte* /*at*/) {}
  // Memory of the host that the device reads and writes at the full speed of the link; zeroed. Null on the host, where
  // nothing is staged.
  virtual std::byte* allocate_staging(size_t size_bytes) = 0;
  virtual void release_staging(std::byte* memory) noexcept = 0;

  // Host to device; `from` may be written again when it returns.
  virtual void upload(std::byte* to, const std::byte* from, size_t size_bytes) = 0;
  // From staging memory, which must not change until the copy has been waited for; may be part of a recording.
  virtual void upload_staged(std::byte* to, const std::byte* from, size_t size_bytes) = 0;
  // To staging memory; complete after a wait; may be part of a recording.
  virtual void download_staged(std::byte* to, const std::byte* from, size_t size_bytes) = 0;
  // Device to host: complete when it returns, and so is all work queued before.
  virtual void download(std::byte* to, const std::byte* from, size_t size_bytes) = 0;
  // Within the device; the ranges do not overlap.
  virtual void copy(std::byte* to, const std::byte* from, size_t size_bytes) = 0;
  virtual void synchronize() = 0;
  // wait_for(i), i in [0, kNumMarks), returns when all work queued before the last mark(i) is done.
  static constexpr int kNumMarks = 2;
  virtual void mark(int index) = 0;
  virtual void wait_for(int index) = 0;

  // Runs the work that `body` queues. A device may record it once and replay the recording each time the key comes
  // again, without calling body: equal keys mean the same calls with the same pointers and sizes, while the contents of
  // the arrays may differ. Key 0 is never recorded.
  virtual bool records() const = 0;  // whether it may
  virtual void run(uint64_t key, const std::function<void()>& body) = 0;
};

// `pages`: of its memory.
std::unique_ptr<Device> make_host_device(PageSize pages = PageSize::kHuge);

// Memory on a device, freed with the object. Move-only; must not outlive the device.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(Device& device, size_t size_bytes);
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer();

  std::byte* data() { return data_; }
  size_t size_bytes() const { return size_bytes_; }
  void populate_pages(const std::stop_token& stop) { device_->populate(data_, stop); }
  void spread_over_nodes() { device_->spread_over_nodes(data_); }

 private:
  Device* device_ = nullptr;
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

// Staging memory of a device, freed with the object. Empty on the host. Move-only.
class StagingBuffer {
 public:
  StagingBuffer() = default;
  StagingBuffer(Device& device, size_t size_bytes);
  StagingBuffer(StagingBuffer&& other) noexcept;
  StagingBuffer& operator=(StagingBuffer&& other) noexcept;
  StagingBuffer(const StagingBuffer&) = delete;
  StagingBuffer& operator=(const StagingBuffer&) = delete;
  ~StagingBuffer();

  std::span<std::byte> bytes() { return memory_; }

 private:
  Device* device_ = nullptr;
  std::span<std::byte> memory_;
};

inline constexpr int kInputBuffers = 2;

// An array that the host fills before a step and kernels read in it: a single array on the host. For another device
// there is a copy on the device, and a piece of staging memory per buffer, so that the host can fill one buffer for the
// next step while the other is being copied. Owned by the code that prepares steps.
template <typename T>
struct StepInput {
  T* staged[kInputBuffers] = {};
  T* device = nullptr;

  T* host(int buffer) const { return staged[buffer]; }
  // Copies the first `count` elements to the device, in order with its other work.
  void upload(Device& to, int buffer, int64_t count) const {
    if (staged[buffer] == device) return;
    to.upload_staged(reinterpret_cast<std::byte*>(device), reinterpret_cast<const std::byte*>(staged[buffer]),
                     static_cast<size_t>(count) * sizeof(T));
  }
};

}  // namespace quire
