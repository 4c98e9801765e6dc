// The layout of the KV cache. A KV group is the layers whose K and V have the same shape and the same reach (window).
// It has its own pool of blocks, its own block ids and a block table for each sequence
// (docs/decisions/0018-kv-groups.md).
//
// Plain data computed from a model's configuration. The engine decides which sequence holds which block.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"

namespace quire {

// The number of blocks that num_positions positions take.
inline int64_t blocks_for(int64_t num_positions) { return (num_positions + kKvBlockSize - 1) / kKvBlockSize; }

// The blocks of a sequence in one group: entry i holds positions [i * kKvBlockSize, (i + 1) * kKvBlockSize). It is
// kNoBlock when the block was released, because a window has passed it or by eviction.
using BlockTable = std::vector<int32_t>;

// The K and V that a layer keeps for each position, or the layer whose K and V it reads.
struct LayerKv {
  int num_kv_heads = 0;
  int head_dim = 0;
  int64_t window = 0;  // a token sees its own position and the window - 1 before it; 0: all positions
  int source = 0;      // the layer whose K and V it reads: itself, or an earlier one of the same shape and window
};

struct KvGroup {
  int num_layers = 0;  // layers that keep their own K and V
  int num_kv_heads = 0;
  int head_dim = 0;
  Format k_format = Format::kF16;
  Format v_format = Format::kF16;
  bool hadamard_k = false;  // as KvLayer
  bool hadamard_v = false;
  int64_t window = 0;  // as LayerKv::window; also 0 when no sequence grows beyond the window

  // The bytes of one block over all layers: layers x KV heads x (K tile + V tile). Query heads do not count.
  uint64_t block_bytes() const;
  // The first block that tokens at this position and later may read.
  int64_t first_block(int64_t position) const {
    return window == 0 || position < window ? 0 : (position - window + 1) / kKvBlockSize;
  }
};

struct KvLayout {
  struct Place {
    int group = 0;
    int index = 0;  // among the layers of the group
  };
  std::vector<KvGroup> groups;  // the longest reach first
  std::vector<Place> layers;    // by layer: the place of the K and V that it reads

  // The bytes of a position that every group keeps.
  uint64_t token_bytes() const;
};

struct KvLayoutOptions {
  int64_t max_context = 0;  // the most positions of a sequence; 0: windows are ignored
  Format k_format = Format::kF16;
  Format v_format = Format::kF16;
  // Heads are multiplied by a Hadamard matrix before they become codes of few bits
  // (docs/decisions/0021-hadamard-before-4-bit-kv.md).
  bool hadamard = true;
  int num_ranks = 1;  // the ranks that share the heads of every layer
};
KvLayout make_kv_layout(std::span<const LayerKv> layers, const KvLayoutOptions& options);

// The place of a block. Kernels read the pool; the host tier keeps the blocks of preempted sequences.
enum class KvTier : uint8_t { kPool, kHost };
struct KvPlace {
  KvTier tier = KvTier::kPool;
  int32_t index = kNoBlock;  // within the group's memory in that tier
  bool operator==(const KvPlace&) const = default;
};

// Copies a block from one place of a group to another.
struct KvMove {
  int group = 0;
  KvPlace from;
  KvPlace to;
};

}  // namespace quire
