// Which thread does which tiles of a call. See math.h for how files of this folder are used.
#pragma once

#include "kernels/kernels.h"

namespace quire {
namespace {

// The tiles of a call in contiguous parts, one for each thread: a thread that asks for a tile gets the next of its own
// part, and those of others when that is done. So it reads memory as one stream, however its neighbours fare; of a
// matrix that is multiplied alone, what it has packed itself.
class TileParts {
 public:
  TileParts(int64_t num_tiles, int num_threads) : num_parts_(num_threads < kMostParts ? num_threads : kMostParts) {
    for (int part = 0; part < num_parts_; ++part) {
      parts_[part] = {num_tiles * part / num_parts_, num_tiles * (part + 1) / num_parts_};
    }
  }
  // To be called num_tiles times in all.
  int64_t take(int thread) {
    for (int part = thread % num_parts_;; part = (part + 1) % num_parts_) {
      Part& from = parts_[part];
      if (__atomic_load_n(&from.next, __ATOMIC_RELAXED) >= from.end) continue;
      const int64_t tile = __atomic_fetch_add(&from.next, 1, __ATOMIC_RELAXED);
      if (tile < from.end) return tile;
    }
  }

 private:
  static constexpr int kMostParts = 64;  // threads beyond share parts
  struct alignas(64) Part {
    int64_t next;
    int64_t end;
  };
  int num_parts_;
  Part parts_[kMostParts];
};

}  // namespace
}  // namespace quire
