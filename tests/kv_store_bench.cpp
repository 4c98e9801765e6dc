// How fast blocks get to a KV store and back, beside what its disk gives without Quire; run by hand:
//   quire_kv_store_bench FILE MIB [BLOCK_BYTES]        a file of that size, which is removed at the end
//   quire_kv_store_bench redis://HOST:PORT MIB [BLOCK_BYTES]
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "kvstore/disk_queue.h"
#include "kvstore/file_store.h"
#include "kvstore/redis_store.h"

namespace quire {
namespace {

constexpr int kBlockTokens = 32;
constexpr int64_t kAtOnce = 32;  // operations
constexpr const char* kFingerprint = "bench";
constexpr HashKey kSecret{1, 2};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

class Bench {
 public:
  Bench(std::string_view place, uint64_t size_bytes, size_t block_bytes)
      : place_(place),
        size_bytes_(size_bytes),
        tokens_(kBlockTokens, 7),
        memory_(static_cast<size_t>(kAtOnce), std::vector<std::byte>(block_bytes, std::byte{3})) {}

  void run() {
    const bool is_file = !place_.starts_with("redis://");
    auto store = open();
    // Half of what would fit, so that none is evicted.
    num_blocks_ = static_cast<int64_t>(size_bytes_ / 2 / memory_[0].size());
    measure("write", [&] { return pass(*store, true); });
    store.reset();
    const auto begin = std::chrono::steady_clock::now();
    store = open();
    fmt::print("open: {:.1f} ms, {} blocks\n", 1e3 * seconds_since(begin), store->statistics().num_blocks);
    measure("read", [&] { return pass(*store, false); });
    store.reset();
    if (!is_file) return;
    measure("the disk alone, reading", [&] { return raw_reads(); });
    ::unlink(place_.c_str());
  }

 private:
  std::unique_ptr<BlockStore> open() const {
    if (place_.starts_with("redis://")) {
      return std::make_unique<RedisStore>(RedisStore::Options{.address = parse_redis_url(place_),
                                                              .secret = kSecret,
                                                              .fingerprint = kFingerprint,
                                                              .payload_bytes = {memory_[0].size()}});
    }
    auto store = std::make_unique<FileStore>(FileStore::Options{.path = place_,
                                                                .capacity_bytes = size_bytes_,
                                                                .secret = kSecret,
                                                                .fingerprint = kFingerprint,
                                                                .payload_bytes = {memory_[0].size()}});
    fmt::print("{}\n", store->method());
    return store;
  }

  template <typename Pass>
  void measure(const char* what, Pass pass) const {
    const auto begin = std::chrono::steady_clock::now();
    const int64_t num_done = pass();
    const double seconds = seconds_since(begin);
    fmt::print("{}: {} of {} blocks in {:.2f} s, {:.2f} GB/s\n", what, num_done, num_blocks_, seconds,
               1e-9 * static_cast<double>(num_done) * static_cast<double>(memory_[0].size()) / seconds);
  }

  // All blocks, kAtOnce at a time.
  int64_t pass(BlockStore& store, bool is_write) {
    std::vector<size_t> free;
    for (size_t i = 0; i < memory_.size(); ++i) free.push_back(i);
    std::vector<BlockStore::Completion> ended;
    int64_t next = 0;
    int64_t num_done = 0;
    while (next < num_blocks_ || free.size() < memory_.size()) {
      while (next < num_blocks_ && !free.empty()) {
        const StoredBlock block{.id = {.hash = {.low = static_cast<uint64_t>(next++) * 0x9E3779B97F4A7C15u, .high = 1}},
                                .parent = {},
                                .tokens = tokens_};
        const std::span<std::byte> part(memory_[free.back()]);
        const std::span<const std::byte> source(part);
        is_write ? store.begin_write(free.back(), block, {&source, 1})
                 : store.begin_read(free.back(), block, {&part, 1});
        free.pop_back();
      }
      ended.clear();
      store.poll(ended);
      if (ended.empty()) std::this_thread::sleep_for(std::chrono::microseconds(100));
      for (const auto& one : ended) {
        free.push_back(static_cast<size_t>(one.ticket));
        num_done += one.outcome == StoreOutcome::kDone ? 1 : 0;
      }
    }
    return num_done;
  }

  // As many bytes in pieces of the same size, neither proved nor copied.
  int64_t raw_reads() const {
    const int file = ::open(place_.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    const size_t size = (memory_[0].size() + 4095) / 4096 * 4096;
    const std::unique_ptr<std::byte, void (*)(void*)> pages(
        static_cast<std::byte*>(std::aligned_alloc(4096, size * static_cast<size_t>(kAtOnce))), std::free);
    auto disk = make_ring_queue(file, kAtOnce);
    if (disk == nullptr) disk = make_thread_queue(file, 4);
    std::vector<DiskQueue::Result> results;
    for (int64_t i = 0; i < kAtOnce; ++i) results.push_back({.tag = static_cast<uint64_t>(i)});
    int64_t num_started = 0;
    int64_t num_ended = -kAtOnce;
    while (num_ended < num_blocks_) {
      num_ended += std::ssize(results);
      for (const auto& result : results) {
        if (num_started == num_blocks_) break;
        disk->start({.tag = result.tag,
                     .offset = static_cast<uint64_t>(num_started++) * size,
                     .bytes = {pages.get() + result.tag * size, size}});
      }
      results.clear();
      if (num_ended < num_blocks_) disk->wait(results);
    }
    disk.reset();
    ::close(file);
    return num_ended;
  }

  std::string place_;
  uint64_t size_bytes_;
  int64_t num_blocks_ = 0;
  std::vector<int32_t> tokens_;
  std::vector<std::vector<std::byte>> memory_;
};

}  // namespace
}  // namespace quire

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: {} FILE|redis://HOST:PORT MIB [BLOCK_BYTES]\n", argv[0]);
    return 2;
  }
  const size_t block_bytes = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 737280;
  try {
    quire::Bench(argv[1], std::strtoull(argv[2], nullptr, 10) << 20, block_bytes).run();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
