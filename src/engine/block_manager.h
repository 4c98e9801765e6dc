// Counts the holders of each KV block of one group, and finds cached blocks by the tokens they hold. It deals in block
// ids and token ids only, and knows neither requests nor memory.
//
// Owned by the scheduler, engine thread only. A block is free, active (it has holders) or cached (it has none, but its
// content can be found). Invariant, checked by check(): free + active + cached = total.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/eviction.h"
#include "kvstore/prefix_hash.h"

namespace quire {

enum class BlockState : uint8_t { kFree, kActive, kShared, kCached };  // shared: more than one holder

class BlockManager {
 public:
  BlockManager(int64_t num_blocks, int64_t block_size, Eviction eviction = Eviction::kLru);

  // Returns a block with one holder: a free one, or else the cached one that the eviction policy names, whose content
  // is forgotten. Nothing when all blocks are active.
  std::optional<int32_t> allocate();
  void hold(int32_t block);     // adds a holder to an active or cached block
  void release(int32_t block);  // removes a holder; without holders the block is cached if published, otherwise free
  int32_t num_holders(int32_t block) const { return references_[block]; }
  bool is_shared(int32_t block) const { return references_[block] > 1; }
  BlockState state(int32_t block) const;
  bool is_cached(int32_t block) const { return references_[block] == 0 && content_[block].is_published; }

  // Makes an active, full block findable; it must not be written any more. When a block of equal content is published
  // already, this one stays private: false.
  bool publish(int32_t block, const PrefixHash& parent, const PrefixHash& hash, std::span<const int32_t> tokens);
  // The block that holds these tokens after that prefix. Tokens and parent are compared, not only the hash.
  std::optional<int32_t> find(const PrefixHash& parent, const PrefixHash& hash, std::span<const int32_t> tokens) const;
  bool is_published_as(int32_t block, const PrefixHash& hash) const {
    return content_[block].is_published && content_[block].hash == hash;
  }
  void forget_cached();  // makes every cached block free

  int64_t num_total() const { return static_cast<int64_t>(references_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_cached() const { return num_cached_; }
  int64_t num_active() const { return num_total() - num_free() - num_cached(); }
  int64_t num_available() const { return num_free() + num_cached(); }
  int64_t num_references() const;  // over all blocks
  int64_t block_size() const { return block_size_; }
  void check() const;

 private:
  struct Content {
    bool is_published = false;
    PrefixHash parent;
    PrefixHash hash;
  };

  std::span<int32_t> tokens_of(int32_t block) {
    return {tokens_.data() + block * block_size_, static_cast<size_t>(block_size_)};
  }
  void forget(int32_t block);  // makes a cached block free

  int64_t block_size_;
  std::vector<int32_t> free_;
  std::vector<int32_t> references_;  // per block
  std::vector<Content> content_;     // per block
  std::vector<int32_t> tokens_;      // [block][block_size_], set for published blocks
  std::unordered_map<PrefixHash, int32_t> published_;
  std::unique_ptr<EvictionPolicy> eviction_;
  int64_t num_cached_ = 0;
};

}  // namespace quire
