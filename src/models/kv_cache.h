// The memory behind KV blocks: one pool per layer for K and one for V, cut into blocks (kernels/kernels.h, KvLayer).
//
// Owned by the model runner. Which block belongs to whom is the engine's affair (engine/block_manager.h).
#pragma once

#include <cstdint>
#include <stop_token>
#include <vector>

#include "kernels/kernels.h"
#include "tensor/aligned_buffer.h"
#include "tensor/device.h"

namespace quire {

// Blocks that a sequence of this many positions takes.
inline int64_t blocks_per_sequence(int64_t max_context) { return (max_context + kKvBlockSize - 1) / kKvBlockSize; }

struct KvShape {
  int num_layers = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  Format k_format = Format::kF16;
  Format v_format = Format::kF16;

  // Bytes of one block over all layers: layers x KV heads x (K tile + V tile). GQA correct: query heads do not count.
  uint64_t block_bytes() const;
  uint64_t token_bytes() const { return block_bytes() / kKvBlockSize; }
};

class KvCache {
 public:
  KvCache(const KvShape& shape, Device& device, int64_t num_blocks, int64_t num_swap_slots = 0);

  const KvShape& shape() const { return shape_; }
  int64_t num_blocks() const { return num_blocks_; }
  KvLayer layer(int index);
  // Copies a whole block in every layer (copy-on-write).
  void copy_block(int32_t from, int32_t to);
  // Has the system provide the pool's memory before its blocks are first used (DeviceBuffer::populate_pages).
  void populate(const std::stop_token& stop) { memory_.populate_pages(stop); }
  // Whole blocks to and from the swap space, which lies in host memory wherever the pool is.
  void swap_out(int32_t block, int32_t slot);
  void swap_in(int32_t slot, int32_t block);

 private:
  // Calls copy(part of the block in the pool, bytes, offset in a swap slot) for K and V of every layer.
  template <typename Copy>
  void for_each_part(int32_t block, const Copy& copy);

  KvShape shape_;
  Device* device_;
  int64_t num_blocks_;
  uint64_t k_layer_bytes_;
  uint64_t v_layer_bytes_;
  DeviceBuffer memory_;
  int64_t num_swap_slots_;
  AlignedBuffer swap_;  // per slot: K and V of every layer
};

}  // namespace quire
