// Divides memory into aligned pieces or, without memory, only counts their size: code that takes its memory from an
// arena runs once to learn the size and once to get the memory. One thread.
#pragma once

#include <cstdint>
#include <span>

#include "base/check.h"
#include "tensor/device.h"

namespace quire {

class Arena {
 public:
  Arena() = default;  // counts
  // Zeroed memory aligned to AlignedBuffer::kAlignment, of the host or of a device.
  explicit Arena(std::span<std::byte> memory) : memory_(memory), counts_only_(false) {}
  explicit Arena(DeviceBuffer& memory) : Arena(std::span(memory.data(), memory.size_bytes())) {}

  bool counts_only() const { return counts_only_; }
  uint64_t used_bytes() const { return used_bytes_; }

  // 64-byte aligned, zeroed; null while counting.
  std::byte* take_bytes(uint64_t size_bytes) {
    const uint64_t offset = used_bytes_;
    used_bytes_ += (size_bytes + AlignedBuffer::kAlignment - 1) / AlignedBuffer::kAlignment * AlignedBuffer::kAlignment;
    if (counts_only()) return nullptr;
    CHECK(used_bytes_ <= memory_.size());
    return memory_.data() + offset;
  }
  template <typename T>
  T* take(int64_t count) {
    return reinterpret_cast<T*>(take_bytes(static_cast<uint64_t>(count) * sizeof(T)));
  }

 private:
  std::span<std::byte> memory_;
  bool counts_only_ = true;
  uint64_t used_bytes_ = 0;
};

// Allocates arrays that the host fills and kernels read (StepInput): a piece of each buffer of staging memory and, at
// the same offset, of the device's memory of that size. On the host all of them are one memory.
class InputArena {
 public:
  InputArena() = default;  // counts
  // `staging`: of each buffer, one after the other; empty on the host.
  InputArena(std::span<std::byte> staging, std::span<std::byte> device) : device_(device) {
    const size_t buffer_bytes = staging.size() / kInputBuffers;
    for (size_t buffer = 0; buffer < kInputBuffers; ++buffer) {
      buffers_[buffer] = Arena(staging.empty() ? device : staging.subspan(buffer * buffer_bytes, buffer_bytes));
    }
  }

  uint64_t used_bytes() const { return device_.used_bytes(); }
  template <typename T>
  StepInput<T> take(int64_t count) {
    return {.staged = {buffers_[0].take<T>(count), buffers_[1].take<T>(count)}, .device = device_.take<T>(count)};
  }

 private:
  Arena buffers_[kInputBuffers];
  Arena device_;
};

}  // namespace quire
