// Cuts one aligned buffer into pieces, or, without memory, only counts what would be cut: code that takes its memory
// from an arena is run once to learn the size and once to get the memory. One thread.
#pragma once

#include <cstdint>

#include "base/check.h"
#include "tensor/aligned_buffer.h"

namespace quire {

class Arena {
 public:
  Arena() = default;  // counts
  explicit Arena(AlignedBuffer& memory) : memory_(&memory) {}

  bool counts_only() const { return memory_ == nullptr; }
  uint64_t used_bytes() const { return used_bytes_; }

  // 64-byte aligned, zeroed; null while counting.
  std::byte* take_bytes(uint64_t size_bytes) {
    const uint64_t offset = used_bytes_;
    used_bytes_ += (size_bytes + AlignedBuffer::kAlignment - 1) / AlignedBuffer::kAlignment * AlignedBuffer::kAlignment;
    if (counts_only()) return nullptr;
    CHECK(used_bytes_ <= memory_->size_bytes());
    return memory_->data() + offset;
  }
  template <typename T>
  T* take(int64_t count) {
    return reinterpret_cast<T*>(take_bytes(static_cast<uint64_t>(count) * sizeof(T)));
  }

 private:
  AlignedBuffer* memory_ = nullptr;
  uint64_t used_bytes_ = 0;
};

}  // namespace quire
