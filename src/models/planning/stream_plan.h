// Which layers of a model that is larger than memory stay in memory, and what the others share.
//
// The packed weights consist of sections: one for each layer and one for what follows the last (the head), which always
// stays. A step reads the layers in a cycle, so the next use of a layer that was just used is the furthest away, and
// what stays must be a fixed set: a policy that keeps what was used last would never find anything. All sets of a size
// save as much; the one that spreads the streamed layers evenly leaves the same computing time between each two of
// them, so that the disk need not pause in one part of a step and be waited for in another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace quire {

struct StreamPlan {
  struct Section {
    uint64_t first = 0;  // bytes [first, last) of the packed weights, which lie so in the file
    uint64_t last = 0;
    bool is_resident = false;

    uint64_t size_bytes() const { return last - first; }
    // Where reading it begins and ends: multiples of DirectFile::kAlignment.
    uint64_t first_read() const;
    uint64_t last_read() const;
    size_t num_chunks(size_t chunk_bytes) const;
  };
  std::vector<Section> sections;  // of the layers in order, then the rest
  size_t chunk_bytes = 0;         // memory goes from layer to layer in pieces of this size
  size_t num_chunks = 0;          // of the sections that stay, and those that the others share

  int num_layers() const { return static_cast<int>(sections.size()) - 1; }
  int num_streamed() const;
  uint64_t streamed_bytes() const;  // that each step reads
  uint64_t memory_bytes() const { return uint64_t{num_chunks} * chunk_bytes; }
};

// `starts`: where sections begin, of `weight_bytes` (WeightLoader::sections). The plan that keeps most layers within
// `allowed_bytes`. Two layers that are streamed must have room, so that one can be read while the other is used;
// nothing where they have none, or where a model does not consist of layers.
std::optional<StreamPlan> plan_stream(std::span<const uint64_t> starts, uint64_t weight_bytes, uint64_t allowed_bytes);

}  // namespace quire
