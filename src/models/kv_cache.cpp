#include "models/kv_cache.h"

#include "base/check.h"

namespace quire {
namespace {

// One block of one layer.
uint64_t block_bytes_of(const KvShape& shape, Format format) {
  return static_cast<uint64_t>(shape.num_kv_heads) * static_cast<uint64_t>(kv_tile_bytes(format, shape.head_dim));
}

}  // namespace

uint64_t KvShape::block_bytes() const {
  return static_cast<uint64_t>(num_layers) * (block_bytes_of(*this, k_format) + block_bytes_of(*this, v_format));
}

// A tile is a multiple of 64 bytes, so every layer's pool stays aligned.
KvCache::KvCache(const KvShape& shape, Device& device, int64_t num_blocks, int64_t num_swap_slots)
    : shape_(shape),
      device_(&device),
      num_blocks_(num_blocks),
      k_layer_bytes_(static_cast<uint64_t>(num_blocks) * block_bytes_of(shape, shape.k_format)),
      v_layer_bytes_(static_cast<uint64_t>(num_blocks) * block_bytes_of(shape, shape.v_format)),
      memory_(device, static_cast<uint64_t>(shape.num_layers) * (k_layer_bytes_ + v_layer_bytes_)),
      num_swap_slots_(num_swap_slots),
      swap_(static_cast<uint64_t>(num_swap_slots) * shape.block_bytes()) {}

KvLayer KvCache::layer(int index) {
  DCHECK(index >= 0 && index < shape_.num_layers);
  std::byte* const start = memory_.data() + static_cast<uint64_t>(index) * (k_layer_bytes_ + v_layer_bytes_);
  return {.k = start,
          .v = start + k_layer_bytes_,
          .k_format = shape_.k_format,
          .v_format = shape_.v_format,
          .num_kv_heads = shape_.num_kv_heads,
          .head_dim = shape_.head_dim};
}

void KvCache::copy_block(int32_t from, int32_t to) {
  CHECK(from >= 0 && from < num_blocks_ && to >= 0 && to < num_blocks_);
  if (from == to) return;
  const uint64_t k_bytes = block_bytes_of(shape_, shape_.k_format);
  const uint64_t v_bytes = block_bytes_of(shape_, shape_.v_format);
  for (int i = 0; i < shape_.num_layers; ++i) {
    const KvLayer kv = layer(i);
    device_->copy(kv.k + static_cast<uint64_t>(to) * k_bytes, kv.k + static_cast<uint64_t>(from) * k_bytes, k_bytes);
    device_->copy(kv.v + static_cast<uint64_t>(to) * v_bytes, kv.v + static_cast<uint64_t>(from) * v_bytes, v_bytes);
  }
}

template <typename Copy>
void KvCache::for_each_part(int32_t block, const Copy& copy) {
  CHECK(block >= 0 && block < num_blocks_);
  const uint64_t k_bytes = block_bytes_of(shape_, shape_.k_format);
  const uint64_t v_bytes = block_bytes_of(shape_, shape_.v_format);
  uint64_t offset = 0;
  for (int i = 0; i < shape_.num_layers; ++i, offset += k_bytes + v_bytes) {
    const KvLayer kv = layer(i);
    copy(kv.k + static_cast<uint64_t>(block) * k_bytes, k_bytes, offset);
    copy(kv.v + static_cast<uint64_t>(block) * v_bytes, v_bytes, offset + k_bytes);
  }
}

void KvCache::swap_out(int32_t block, int32_t slot) {
  CHECK(slot >= 0 && slot < num_swap_slots_);
  std::byte* const to = swap_.data() + static_cast<uint64_t>(slot) * shape_.block_bytes();
  for_each_part(block,
                [&](const std::byte* part, uint64_t bytes, uint64_t at) { device_->download(to + at, part, bytes); });
}

void KvCache::swap_in(int32_t slot, int32_t block) {
  CHECK(slot >= 0 && slot < num_swap_slots_);
  const std::byte* const from = swap_.data() + static_cast<uint64_t>(slot) * shape_.block_bytes();
  for_each_part(block, [&](std::byte* part, uint64_t bytes, uint64_t at) { device_->upload(part, from + at, bytes); });
}

}  // namespace quire
