// Where a kernel table computes: memory there, the way to it and back, and the order in which things happen on it.
//
// The host is the first implementation: its memory is everybody's, copies are plain and everything has happened when a
// call returns. Others work on a stream: what is asked for happens in order, later; only download, synchronize and
// wait_for wait.
// Owned by the model runner; one thread at a time.
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
  virtual uint64_t free_bytes() const = 0;      // that can be allocated; the host knows no end
  virtual void* stream() = 0;                   // Exec::stream

  // Zeroed, 256-byte aligned. Throws Error kOutOfMemory with the size when there is not enough.
  virtual std::byte* allocate(size_t size_bytes) = 0;
  virtual void release(std::byte* memory) noexcept = 0;
  // See AlignedBuffer::populate_pages; nothing to do where memory is there as soon as it is allocated.
  virtual void populate(std::byte* /*memory*/, const std::stop_token& /*stop*/) {}
  // Memory of the host that the device reads and writes at the full speed of the link; zeroed.
  virtual std::byte* allocate_staging(size_t size_bytes) = 0;
  virtual void release_staging(std::byte* memory) noexcept = 0;

  // Host to device; `from` may be written again when it returns.
  virtual void upload(std::byte* to, const std::byte* from, size_t size_bytes) = 0;
  // From staging memory, which stays as it is until the copy has been waited for; may be part of a recording.
  virtual void upload_staged(std::byte* to, const std::byte* from, size_t size_bytes) = 0;
  // To staging memory, complete when it has been waited for; may be part of a recording.
  virtual void download_staged(std::byte* to, const std::byte* from, size_t size_bytes) = 0;
  // Device to host: complete when it returns, and so is all that was asked for before.
  virtual void download(std::byte* to, const std::byte* from, size_t size_bytes) = 0;
  // Within the device; the ranges do not overlap.
  virtual void copy(std::byte* to, const std::byte* from, size_t size_bytes) = 0;
  virtual void synchronize() = 0;
  // wait_for(i), i in [0, kNumMarks), returns when all that was asked for before the last mark(i) is done.
  static constexpr int kNumMarks = 2;
  virtual void mark(int index) = 0;
  virtual void wait_for(int index) = 0;

  // Does what `body` asks for. A device may record it one time and from then on replay the recording whenever the key
  // comes again, without calling body: a key stands for the same calls with the same pointers and sizes, while what the
  // pointers lead to may differ. Key 0 is never recorded.
  virtual void run(uint64_t key, const std::function<void()>& body) = 0;
};

std::unique_ptr<Device> make_host_device();

// Memory on a device, given back with the object. Move-only; must not outlive the device.
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

 private:
  Device* device_ = nullptr;
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

// Staging memory of a device, given back with the object.
class StagingBuffer {
 public:
  StagingBuffer() = default;
  StagingBuffer(Device& device, size_t size_bytes)
      : device_(&device), memory_(device.allocate_staging(size_bytes), size_bytes) {}
  StagingBuffer(const StagingBuffer&) = delete;
  StagingBuffer& operator=(const StagingBuffer&) = delete;
  ~StagingBuffer() {
    if (device_ != nullptr) device_->release_staging(memory_.data());
  }

  std::span<std::byte> bytes() { return memory_; }

 private:
  Device* device_ = nullptr;
  std::span<std::byte> memory_;
};

inline constexpr int kInputSlots = 2;

// An array that the host fills before a step and kernels read in it: one memory on the host. Another device has a copy,
// and the host as many pieces of staging memory as there are slots, so that it can fill one for the next step while the
// other is on its way. Owned by the code that prepares steps.
template <typename T>
struct StepInput {
  T* staged[kInputSlots] = {};
  T* device = nullptr;

  T* host(int slot) const { return staged[slot]; }
  // Has the first `count` elements on the device, in the order of its other work.
  void upload(Device& to, int slot, int64_t count) const {
    if (staged[slot] == device) return;
    to.upload_staged(reinterpret_cast<std::byte*>(device), reinterpret_cast<const std::byte*>(staged[slot]),
                     static_cast<size_t>(count) * sizeof(T));
  }
};

}  // namespace quire
