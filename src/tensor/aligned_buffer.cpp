#include "tensor/aligned_buffer.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace quire {

AlignedBuffer::AlignedBuffer(size_t size_bytes, PageSize pages) {
  if (size_bytes == 0) return;
  const bool is_huge = size_bytes >= kHugePageBytes;
  const size_t slack = is_huge ? kHugePageBytes : 0;  // room to move the start up to a huge page's boundary
  size_t wanted = 0;
  if (__builtin_add_overflow(size_bytes, slack, &wanted)) {
    fail(ErrorCode::kOutOfMemory, "cannot reserve {} bytes of memory: more than an address space", size_bytes);
  }
  void* mapping = ::mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    fail(ErrorCode::kOutOfMemory, "cannot reserve {} bytes of memory: {}", size_bytes, std::strerror(errno));
  }
  mapping_ = static_cast<std::byte*>(mapping);
  mapping_bytes_ = wanted;
  size_bytes_ = size_bytes;
  data_ = mapping_;
  if (is_huge) {
    const auto address = reinterpret_cast<uintptr_t>(mapping_);
    data_ += (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
    // Advice only: the system may give others.
    ::madvise(data_, size_bytes_, pages == PageSize::kHuge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  }
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      mapping_(std::exchange(other.mapping_, nullptr)),
      mapping_bytes_(std::exchange(other.mapping_bytes_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapping_bytes_, other.mapping_bytes_);
  return *this;
}

AlignedBuffer::~AlignedBuffer() {
  if (mapping_ != nullptr) ::munmap(mapping_, mapping_bytes_);
}

void AlignedBuffer::spread_over_nodes() {
  constexpr unsigned long kMaxNodes = 1024;  // of any build of the system
  unsigned long nodes[kMaxNodes / (8 * sizeof(unsigned long))] = {};
  if (::syscall(SYS_get_mempolicy, nullptr, nodes, kMaxNodes, nullptr, MPOL_F_MEMS_ALLOWED) != 0) return;
  int count = 0;
  for (const unsigned long bits : nodes) count += std::popcount(bits);
  // Advice only: a container may forbid the call.
  if (count > 1) ::syscall(SYS_mbind, mapping_, mapping_bytes_, MPOL_INTERLEAVE, nodes, kMaxNodes + 1, 0);
}

void AlignedBuffer::release_pages() {
  if (mapping_ != nullptr) ::madvise(mapping_, mapping_bytes_, MADV_DONTNEED);
}

void AlignedBuffer::populate_pages(const std::stop_token& stop) {
#ifdef MADV_POPULATE_WRITE
  constexpr size_t kPiece = size_t{8} << 20;
  for (size_t at = 0; at < mapping_bytes_ && !stop.stop_requested(); at += kPiece) {
    if (::madvise(mapping_ + at, std::min(kPiece, mapping_bytes_ - at), MADV_POPULATE_WRITE) != 0) return;
  }
#else
  (void)stop;
#endif
}

}  // namespace quire
