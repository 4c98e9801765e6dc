#include "models/kv_layout.h"

#include <algorithm>

#include "base/check.h"

namespace quire {
namespace {

bool is_of_group(const KvGroup& group, const KvGroup& other) {
  return group.num_kv_heads == other.num_kv_heads && group.head_dim == other.head_dim && group.window == other.window;
}

bool reaches_further(const KvGroup& a, const KvGroup& b) {
  return a.window != b.window && (a.window == 0 || (b.window != 0 && a.window > b.window));
}

KvGroup group_of(const LayerKv& layer, const KvLayoutOptions& options) {
  return {.num_layers = 0,
          .num_kv_heads = layer.num_kv_heads / options.num_ranks,
          .head_dim = layer.head_dim,
          .k_format = options.k_format,
          .v_format = options.v_format,
          .hadamard_k = options.hadamard && options.k_format == Format::kQ4_0,
          .hadamard_v = options.hadamard && options.v_format == Format::kQ4_0,
          .window = layer.window < options.max_context ? layer.window : 0};
}

}  // namespace

uint64_t KvGroup::block_bytes() const {
  const auto tile_bytes =
      static_cast<uint64_t>(k_tile_bytes(k_format, head_dim)) + static_cast<uint64_t>(v_tile_bytes(v_format, head_dim));
  return static_cast<uint64_t>(num_layers) * static_cast<uint64_t>(num_kv_heads) * tile_bytes;
}

uint64_t KvLayout::token_bytes() const {
  uint64_t bytes = 0;
  for (const KvGroup& group : groups) bytes += group.block_bytes();
  return bytes / kKvBlockSize;
}

KvLayout make_kv_layout(std::span<const LayerKv> layers, const KvLayoutOptions& options) {
  KvLayout layout;
  for (const LayerKv& layer : layers) {
    const KvGroup group = group_of(layer, options);
    if (std::ranges::none_of(layout.groups, [&](const KvGroup& known) { return is_of_group(known, group); })) {
      layout.groups.push_back(group);
    }
  }
  std::ranges::stable_sort(layout.groups, reaches_further);
  for (size_t i = 0; i < layers.size(); ++i) {
    const KvGroup group = group_of(layers[i], options);
    const auto source = static_cast<size_t>(layers[i].source);
    if (source != i) {
      CHECK(source < i && static_cast<size_t>(layers[source].source) == source);
      CHECK(is_of_group(group_of(layers[source], options), group));
      layout.layers.push_back(layout.layers[source]);
      continue;
    }
    const auto found =
        std::ranges::find_if(layout.groups, [&](const KvGroup& known) { return is_of_group(known, group); });
    layout.layers.push_back({static_cast<int>(found - layout.groups.begin()), found->num_layers++});
  }
  return layout;
}

}  // namespace quire
