// A range of addresses, and a few chunks of memory that move among its places with what they hold. Moving changes page
// tables only: nothing is copied or cleared, and huge pages stay huge (mremap). Reading a place without a chunk ends
// the program. Linux 5.7 or later.
//
// Any thread may move a chunk that no other one uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace quire {

class MovableMemory {
 public:
  // Places begin at multiples of chunk_bytes, itself a multiple of the page size. The chunks have their memory when it
  // returns, on huge pages where that is asked for, possible, and chunks consist of them. Throws Error kOutOfMemory.
  struct Sizes {
    size_t num_places = 0;
    size_t num_chunks = 0;
    size_t chunk_bytes = 0;
    bool wants_huge_pages = true;
  };
  explicit MovableMemory(const Sizes& sizes);
  MovableMemory(const MovableMemory&) = delete;
  MovableMemory& operator=(const MovableMemory&) = delete;
  ~MovableMemory();

  std::byte* place(size_t index) const { return data_ + index * sizes_.chunk_bytes; }
  // Another chunk that is in this place must not be in use either: it goes to a place of its own. Throws Error
  // kUnsupported when the system does not move memory.
  void move(size_t chunk, size_t place);
  size_t chunk_bytes() const { return sizes_.chunk_bytes; }
  size_t num_chunks() const { return sizes_.num_chunks; }

 private:
  void move_to(size_t chunk, std::byte* to);

  Sizes sizes_;
  std::byte* mapping_ = nullptr;
  size_t mapping_bytes_ = 0;
  std::byte* data_ = nullptr;            // places, then a home for every chunk
  std::vector<std::byte*> chunks_ = {};  // where each is
  std::vector<size_t> occupants_ = {};   // of places: chunks, or kNone
  std::mutex moving_;
};

}  // namespace quire
