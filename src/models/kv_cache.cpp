#include "models/kv_cache.h"

#include <utility>

#include "base/check.h"

namespace quire {

// A tile is a multiple of 64 bytes, so every layer's pool stays aligned.
KvCache::KvCache(KvLayout layout, Device& device, std::span<const KvBlockCounts> counts)
    : layout_(std::move(layout)), device_(&device) {
  CHECK(counts.size() == layout_.groups.size());
  for (size_t i = 0; i < counts.size(); ++i) {
    const KvGroup& group = layout_.groups[i];
    const auto heads = static_cast<uint64_t>(group.num_kv_heads);
    Pool pool;
    pool.counts = counts[i];
    pool.k_block_bytes = heads * static_cast<uint64_t>(k_tile_bytes(group.k_format, group.head_dim));
    pool.v_block_bytes = heads * static_cast<uint64_t>(v_tile_bytes(group.v_format, group.head_dim));
    pool.memory = DeviceBuffer(device, static_cast<uint64_t>(counts[i].pool) * group.block_bytes());
    pool.host = AlignedBuffer(static_cast<uint64_t>(counts[i].host) * group.block_bytes());
    pools_.push_back(std::move(pool));
  }
}

KvLayer KvCache::at(KvLayout::Place place) {
  const KvGroup& group = layout_.groups[static_cast<size_t>(place.group)];
  Pool& pool = pools_[static_cast<size_t>(place.group)];
  DCHECK(place.index >= 0 && place.index < group.num_layers);
  const auto num_blocks = static_cast<uint64_t>(pool.counts.pool);
  std::byte* const k =
      pool.memory.data() + static_cast<uint64_t>(place.index) * num_blocks * (pool.k_block_bytes + pool.v_block_bytes);
  return {.k = k,
          .v = k + num_blocks * pool.k_block_bytes,
          .k_format = group.k_format,
          .v_format = group.v_format,
          .num_kv_heads = group.num_kv_heads,
          .head_dim = group.head_dim,
          .hadamard_k = group.hadamard_k,
          .hadamard_v = group.hadamard_v};
}

template <typename Copy>
void KvCache::for_each_part(int group, int32_t block, const Copy& copy) {
  const Pool& pool = pools_[static_cast<size_t>(group)];
  CHECK(block >= 0 && block < pool.counts.pool);
  const auto index = static_cast<uint64_t>(block);
  uint64_t offset = 0;
  for (int i = 0; i < layout_.groups[static_cast<size_t>(group)].num_layers; ++i) {
    const KvLayer kv = at({group, i});
    copy(kv.k + index * pool.k_block_bytes, pool.k_block_bytes, offset);
    copy(kv.v + index * pool.v_block_bytes, pool.v_block_bytes, offset + pool.k_block_bytes);
    offset += pool.k_block_bytes + pool.v_block_bytes;
  }
}

std::byte* KvCache::host_block(Pool& pool, int group, int32_t index) {
  CHECK(index >= 0 && index < pool.counts.host);
  return pool.host.data() + static_cast<uint64_t>(index) * layout_.groups[static_cast<size_t>(group)].block_bytes();
}

void KvCache::copy_block(int group, int32_t from, int32_t to) {
  const Pool& pool = pools_[static_cast<size_t>(group)];
  CHECK(to >= 0 && to < pool.counts.pool);
  if (from == to) return;
  for_each_part(group, from, [&](std::byte* part, uint64_t bytes, uint64_t) {
    device_->copy(part + (int64_t{to} - from) * static_cast<int64_t>(bytes), part, bytes);
  });
}

void KvCache::move(const KvMove& move) {
  CHECK(move.group >= 0 && move.group < num_groups());
  const auto [group, from, to] = move;
  Pool& pool = pools_[static_cast<size_t>(group)];
  if (from.tier == KvTier::kPool && to.tier == KvTier::kPool) return copy_block(group, from.index, to.index);
  CHECK(from.tier != to.tier);
  if (to.tier == KvTier::kHost) {
    std::byte* const there = host_block(pool, group, to.index);
    for_each_part(group, from.index, [&](const std::byte* part, uint64_t bytes, uint64_t at) {
      device_->download(there + at, part, bytes);
    });
    return;
  }
  const std::byte* const here = host_block(pool, group, from.index);
  for_each_part(group, to.index,
                [&](std::byte* part, uint64_t bytes, uint64_t at) { device_->upload(part, here + at, bytes); });
}

void KvCache::append_parts(int group, int32_t block, std::vector<std::span<std::byte>>& parts) {
  for_each_part(group, block, [&](std::byte* part, uint64_t bytes, uint64_t) { parts.emplace_back(part, bytes); });
}

void KvCache::spread_over_nodes() {
  for (Pool& pool : pools_) pool.memory.spread_over_nodes();
}

void KvCache::populate(const std::stop_token& stop) {
  for (Pool& pool : pools_) pool.memory.populate_pages(stop);
}

}  // namespace quire
