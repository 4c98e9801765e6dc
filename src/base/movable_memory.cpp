#include "base/movable_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr size_t kNone = std::numeric_limits<size_t>::max();
constexpr size_t kHugePageBytes = size_t{2} << 20;

// Addresses without memory: at `at`, or anywhere.
void* reserve(void* at, size_t size_bytes) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at != nullptr ? MAP_FIXED : 0);
  return ::mmap(at, size_bytes, PROT_NONE, flags, -1, 0);
}

[[noreturn]] void refuse(size_t size_bytes) {
  fail(ErrorCode::kOutOfMemory, "cannot reserve {} bytes of memory: {}", size_bytes, std::strerror(errno));
}

// All pages now, because later there may be none.
void provide(std::byte* memory, size_t size_bytes) {
#ifdef MADV_POPULATE_WRITE
  if (::madvise(memory, size_bytes, MADV_POPULATE_WRITE) == 0) return;
  if (errno != EINVAL) refuse(size_bytes);
#endif
  const auto page_bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  for (size_t at = 0; at < size_bytes; at += page_bytes) memory[at] = std::byte{0};
}

}  // namespace

MovableMemory::MovableMemory(const Sizes& sizes) : sizes_(sizes) {
  CHECK(sizes.chunk_bytes % static_cast<size_t>(::sysconf(_SC_PAGESIZE)) == 0);
  const bool is_huge = sizes.wants_huge_pages && sizes.chunk_bytes % kHugePageBytes == 0;
  mapping_bytes_ = (sizes.num_places + sizes.num_chunks + 1) * sizes.chunk_bytes;
  void* const mapping = reserve(nullptr, mapping_bytes_);
  if (mapping == MAP_FAILED) refuse(mapping_bytes_);
  mapping_ = static_cast<std::byte*>(mapping);
  data_ =
      mapping_ + (sizes.chunk_bytes - reinterpret_cast<uintptr_t>(mapping_) % sizes.chunk_bytes) % sizes.chunk_bytes;
  std::byte* const homes = place(sizes.num_places);
  const size_t size_bytes = sizes.num_chunks * sizes.chunk_bytes;
  if (size_bytes == 0) return;
  try {
    if (::mprotect(homes, size_bytes, PROT_READ | PROT_WRITE) != 0) refuse(size_bytes);
    ::madvise(homes, size_bytes, is_huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);  // advice only
    provide(homes, size_bytes);
  } catch (...) {
    ::munmap(mapping_, mapping_bytes_);
    throw;
  }
  occupants_.assign(sizes.num_places, kNone);
  for (size_t i = 0; i < sizes.num_chunks; ++i) chunks_.push_back(homes + i * sizes.chunk_bytes);
}

MovableMemory::~MovableMemory() { ::munmap(mapping_, mapping_bytes_); }

void MovableMemory::move(size_t chunk, size_t index) {
  const std::lock_guard lock(moving_);
  const size_t occupant = occupants_[index];
  if (occupant == chunk) return;
  if (occupant != kNone) move_to(occupant, place(sizes_.num_places + occupant));
  const auto before = static_cast<size_t>(chunks_[chunk] - data_) / sizes_.chunk_bytes;
  if (before < sizes_.num_places) occupants_[before] = kNone;
  move_to(chunk, place(index));
  occupants_[index] = chunk;
}

void MovableMemory::move_to(size_t chunk, std::byte* to) {
  std::byte* const from = chunks_[chunk];
  // Nobody else may get the addresses that the chunk leaves, so they stay mapped, without memory.
  constexpr int kFlags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  if (::mremap(from, sizes_.chunk_bytes, sizes_.chunk_bytes, kFlags, to) == MAP_FAILED) {
    fail(ErrorCode::kUnsupported, "the system does not move memory among addresses, which Linux does since 5.7: {}",
         std::strerror(errno));
  }
  chunks_[chunk] = to;
  CHECK(reserve(from, sizes_.chunk_bytes) != MAP_FAILED);
}

}  // namespace quire
