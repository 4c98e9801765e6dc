// For tests of stores: blocks made from a number, and operations that are waited for.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kvstore/block_store.h"

namespace quire {

inline constexpr size_t kTestTokens = 32;

// A block in two parts of odd sizes.
class TestBlock {
 public:
  TestBlock(uint64_t number, size_t payload_bytes, int32_t group = 0) {
    id_ = {.hash = {.low = number * 0x9E3779B97F4A7C15u, .high = ~number}, .group = group};
    parent_ = {.low = number + 1, .high = number * 3};
    uint64_t state = number * 2 + 1;
    for (size_t i = 0; i < kTestTokens; ++i) tokens_.push_back(static_cast<int32_t>(number + i));
    bytes_.resize(payload_bytes);
    for (std::byte& byte : bytes_) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<std::byte>(state >> 56);
    }
  }

  StoredBlock block() const { return {.id = id_, .parent = parent_, .tokens = tokens_}; }
  const StoredBlockId& id() const { return id_; }
  std::vector<int32_t>& tokens() { return tokens_; }
  PrefixHash& parent() { return parent_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  std::vector<std::span<const std::byte>> sources() const {
    const std::span all(bytes_);
    return {all.first(all.size() / 3), all.subspan(all.size() / 3)};
  }

 private:
  StoredBlockId id_;
  PrefixHash parent_;
  std::vector<int32_t> tokens_;
  std::vector<std::byte> bytes_;
};

// Waits by on_ready, so that a wake that is missing is a test that never ends.
class StoreCaller {
 public:
  explicit StoreCaller(BlockStore& store) : store_(store) {
    store_.on_ready([this] {
      const std::lock_guard lock(mutex_);
      is_ready_ = true;
      ready_.notify_one();
    });
  }
  StoreCaller(const StoreCaller&) = delete;
  StoreCaller& operator=(const StoreCaller&) = delete;
  ~StoreCaller() { store_.on_ready({}); }

  BlockStore::Ticket next() { return ++ticket_; }
  BlockStore::Completion wait(BlockStore::Ticket ticket) {
    while (true) {
      store_.poll(ended_);
      for (size_t i = 0; i < ended_.size(); ++i) {
        if (ended_[i].ticket != ticket) continue;
        const auto found = ended_[i];
        ended_.erase(ended_.begin() + static_cast<std::ptrdiff_t>(i));
        return found;
      }
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [this] { return is_ready_; });
      is_ready_ = false;
    }
  }

  int64_t find(const std::vector<StoredBlockId>& ids) {
    const auto ticket = next();
    store_.begin_find(ticket, ids);
    return wait(ticket).num_found;
  }
  StoreOutcome write(const TestBlock& block) {
    const auto ticket = next();
    store_.begin_write(ticket, block.block(), block.sources());
    return wait(ticket).outcome;
  }
  // Also checks that a block that was read has its bytes.
  StoreOutcome read(const TestBlock& block) {
    std::vector<std::byte> bytes(block.bytes().size());
    const std::span all(bytes);
    const std::vector<std::span<std::byte>> parts = {all.first(all.size() / 5), all.subspan(all.size() / 5)};
    const auto ticket = next();
    store_.begin_read(ticket, block.block(), parts);
    const StoreOutcome outcome = wait(ticket).outcome;
    if (outcome == StoreOutcome::kDone) {
      EXPECT_TRUE(bytes == block.bytes()) << "a wrong block";
    }
    return outcome;
  }

 private:
  BlockStore& store_;
  BlockStore::Ticket ticket_ = 0;
  std::vector<BlockStore::Completion> ended_;
  std::mutex mutex_;
  std::condition_variable ready_;
  bool is_ready_ = false;
};

// A folder of its own, gone with the test.
class TestFolder {
 public:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "quire-kv-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  ~TestFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace quire
