// Blocks in one file of fixed size: `--kv-disk`. They outlive the process, also one that was killed.
//
// What lies where is known from memory (slot_table.h), so a find reads nothing. One thread moves blocks between the
// pool and aligned buffers, of which there are few, and proves what it has read (record.h); the device works on several
// at once (disk_queue.h). When the disk fails three times in a row, the store is given up for a while.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kvstore/availability.h"
#include "kvstore/block_store.h"
#include "kvstore/disk_queue.h"
#include "kvstore/kv_file.h"
#include "kvstore/record.h"
#include "kvstore/slot_table.h"
#include "kvstore/store_queue.h"

namespace quire {

class FileStore final : public BlockStore {
 public:
  struct Options {
    std::filesystem::path path;
    uint64_t capacity_bytes = 0;
    HashKey secret;                                 // secret_key.h
    std::string fingerprint;                        // of all that the bytes of a block follow from, besides its tokens
    std::vector<uint64_t> payload_bytes;            // of a block of each group: the sum of its parts
    std::chrono::milliseconds first_pause{10'000};  // after three faults in a row
    // Instead of io_uring, or threads where that is not permitted.
    std::function<std::unique_ptr<DiskQueue>(int file, int most_at_once)> make_queue = {};
  };

  // Opens or makes the file. Throws Error as KvFile does.
  explicit FileStore(Options options);
  FileStore(const FileStore&) = delete;
  FileStore& operator=(const FileStore&) = delete;
  // Waits for the operations of the device.
  ~FileStore() override;

  void begin_find(Ticket ticket, std::span<const StoredBlockId> ids) override;
  void begin_read(Ticket ticket, const StoredBlock& block, std::span<const std::span<std::byte>> parts) override;
  void begin_write(Ticket ticket, const StoredBlock& block, std::span<const std::span<const std::byte>> parts) override;
  void cancel(Ticket ticket) override;
  void poll(std::vector<Completion>& ended) override;
  void on_ready(std::function<void()> wake) override { queue_.on_ready(std::move(wake)); }
  Statistics statistics() const override;
  const char* name() const override { return "disk"; }

  // How it reads and writes: "io_uring, direct".
  std::string method() const;

 private:
  using Operation = StoreQueue::Operation;
  void load_tables();
  void save_tables() const;
  void apply(const StoreOperation& settled);

  // On the store's thread.
  void run();
  void start_operations();
  bool start(size_t buffer, const Operation& operation);
  void finish(size_t buffer, int error);
  void finish_read(size_t buffer, const Operation& operation);
  std::span<std::byte> buffer_bytes(size_t buffer, size_t size) const;

  Options options_;
  RecordSeal seal_;
  KvFile file_;
  Availability availability_;
  std::vector<SlotTable> tables_;  // of each group; the engine's thread
  uint64_t next_stamp_ = 1;        // likewise
  StoreQueue queue_;

  size_t num_buffers_;
  size_t buffer_size_;  // the largest slot
  std::unique_ptr<std::byte, void (*)(void*)> memory_;
  std::vector<size_t> free_buffers_;
  std::vector<Operation> in_buffers_;  // null where a buffer is free
  std::unique_ptr<DiskQueue> disk_;
  std::thread thread_;
};

}  // namespace quire
