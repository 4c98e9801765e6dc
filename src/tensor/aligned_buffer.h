// Owned, aligned, zeroed memory for packed weights, KV pages and activations. The pages are an anonymous mapping: they
// use no memory until touched. Buffers of 2 MiB and more start on a 2 MiB boundary and ask for huge pages, unless small
// ones are wanted. Move-only; the owner decides which threads write where.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stop_token>

namespace quire {

// Which pages large buffers ask the system for. Huge ones are faster to read (docs/kernels.md); small ones are for
// measuring that, and for systems where huge pages are scarce.
enum class PageSize : uint8_t { kHuge, kSmall };

class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;
  static constexpr size_t kHugePageBytes = size_t{2} << 20;

  AlignedBuffer() = default;
  // Throws Error kOutOfMemory with the size when the system refuses. Zero bytes make an empty buffer.
  explicit AlignedBuffer(size_t size_bytes, PageSize pages = PageSize::kHuge);
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }
  bool empty() const { return size_bytes_ == 0; }

  // The buffer as an array of T, of as many whole elements as fit.
  template <typename T>
  std::span<T> as() {
    static_assert(alignof(T) <= kAlignment);
    return {reinterpret_cast<T*>(data_), size_bytes_ / sizeof(T)};
  }
  template <typename T>
  std::span<const T> as() const {
    static_assert(alignof(T) <= kAlignment);
    return {reinterpret_cast<const T*>(data_), size_bytes_ / sizeof(T)};
  }

  // Has pages that are touched from now on come from all memory nodes in turns, for memory that threads of several
  // nodes read. Does nothing on a machine with one node.
  void spread_over_nodes();
  // Returns the pages to the system; they read as zeros when touched again.
  void release_pages();
  // Has the system provide every page now instead of at its first use, piece by piece, without changing their contents;
  // other threads may use the buffer meanwhile. Does nothing on kernels before Linux 5.14.
  void populate_pages(const std::stop_token& stop);

 private:
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
  std::byte* mapping_ = nullptr;  // for munmap; contains data_
  size_t mapping_bytes_ = 0;
};

}  // namespace quire
