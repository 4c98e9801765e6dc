// What layers keep of a sequence: groups of layers whose K and V have one shape and one reach. A group has its own
// pool of blocks, its own block ids and, of every sequence, its own block table (see docs/decisions/0018-kv-groups.md).
//
// Plain data that follows from a model's configuration; whose block is whose is the engine's affair.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"

namespace quire {

// Blocks that so many positions take.
inline int64_t blocks_for(int64_t num_positions) { return (num_positions + kKvBlockSize - 1) / kKvBlockSize; }

// The blocks of a sequence in one group: entry i holds positions [i * kKvBlockSize, ...); kNoBlock where a window or an
// eviction has given them back.
using BlockTable = std::vector<int32_t>;

// What a layer keeps of every position, or which layer's K and V it reads.
struct LayerKv {
  int num_kv_heads = 0;
  int head_dim = 0;
  int64_t window = 0;  // a token sees itself and the window - 1 positions before it; 0: all
  int source = 0;      // the layer whose K and V it reads: itself, or an earlier one of the same shape and window
};

struct KvGroup {
  int num_layers = 0;  // that keep K and V of their own
  int num_kv_heads = 0;
  int head_dim = 0;
  Format k_format = Format::kF16;
  Format v_format = Format::kF16;
  int64_t window = 0;  // as of LayerKv; 0 also when no sequence grows beyond the window

  // Bytes of one block over all its layers: layers x KV heads x (K tile + V tile). Query heads do not count.
  uint64_t block_bytes() const;
  // The first block that a token at this position, and those after it, may read.
  int64_t first_block(int64_t position) const {
    return window == 0 || position < window ? 0 : (position - window + 1) / kKvBlockSize;
  }
};

struct KvLayout {
  struct Place {
    int group = 0;
    int index = 0;  // among the layers of the group
  };
  std::vector<KvGroup> groups;  // those that reach furthest first
  std::vector<Place> layers;    // of every layer: where the K and V lie that it reads

  // Of a position that every group keeps.
  uint64_t token_bytes() const;
};

struct KvLayoutOptions {
  int64_t max_context = 0;  // positions of a sequence; 0: windows count as none
  Format k_format = Format::kF16;
  Format v_format = Format::kF16;
  int num_ranks = 1;  // which divide the heads of every layer
};
KvLayout make_kv_layout(std::span<const LayerKv> layers, const KvLayoutOptions& options);

// Where a block lies. The pool is the memory that kernels read; the host tier keeps blocks of preempted sequences.
enum class KvTier : uint8_t { kPool, kHost };
struct KvPlace {
  KvTier tier = KvTier::kPool;
  int32_t index = kNoBlock;  // in the group's part of the tier
  bool operator==(const KvPlace&) const = default;
};

// A block's copy from one place of a group to another.
struct KvMove {
  int group = 0;
  KvPlace from;
  KvPlace to;
};

}  // namespace quire
