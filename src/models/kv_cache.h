// The memory behind KV blocks: of every group and layer a pool for K and one for V, cut into blocks (kernels/kernels.h,
// KvLayer), and host memory for blocks that have left the pool.
//
// Owned by the model runner. Which block belongs to whom is the engine's affair (engine/block_manager.h).
#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "models/kv_layout.h"
#include "tensor/aligned_buffer.h"
#include "tensor/device.h"

namespace quire {

// Blocks of a group in each tier.
struct KvBlockCounts {
  int64_t pool = 0;
  int64_t host = 0;
};

class KvCache {
 public:
  // `counts`: of every group of the layout.
  KvCache(KvLayout layout, Device& device, std::span<const KvBlockCounts> counts);

  const KvLayout& layout() const { return layout_; }
  int num_groups() const { return static_cast<int>(pools_.size()); }
  int64_t num_blocks(int group) const { return pools_[static_cast<size_t>(group)].counts.pool; }
  // Where the K and V lie that the layer reads.
  KvLayer layer(int index) { return at(layout_.layers[static_cast<size_t>(index)]); }
  KvLayer at(KvLayout::Place place);
  // Copies a whole block in every layer of its group: within the pool (copy-on-write), or to and from the host tier.
  // From there and within the pool it is complete for all kernels that start later, to there when it returns.
  void move(const KvMove& move);
  // Appends the pieces of host memory that a block consists of: K and V of every layer of its group.
  void append_parts(int group, int32_t block, std::vector<std::span<std::byte>>& parts);
  // Has the system provide the pools' memory before their blocks are first used (DeviceBuffer::populate_pages).
  void populate(const std::stop_token& stop);
  // See AlignedBuffer::spread_over_nodes.
  void spread_over_nodes();

 private:
  struct Pool {
    KvBlockCounts counts;
    uint64_t k_block_bytes = 0;  // of one layer
    uint64_t v_block_bytes = 0;
    DeviceBuffer memory;  // per layer: K of all blocks, then V
    AlignedBuffer host;   // per block: K and V of every layer
  };

  // Calls copy(part of the block in the pool, bytes, offset in a block of the host tier) for K and V of every layer.
  template <typename Copy>
  void for_each_part(int group, int32_t block, const Copy& copy);
  std::byte* host_block(Pool& pool, int group, int32_t index);
  void copy_block(int group, int32_t from, int32_t to);

  KvLayout layout_;
  Device* device_;
  std::vector<Pool> pools_;  // of every group
};

}  // namespace quire
