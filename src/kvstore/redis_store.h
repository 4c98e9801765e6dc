// Blocks in a Redis or Valkey server: `--kv-store`. Replicas with one secret and one model share them.
//
// A value is a record as in a file (record.h), so a server that lies can make a block missing but not wrong. How much
// is kept and for how long is up to the server: maxmemory with an LRU or LFU policy. A few threads have a connection
// each and send several commands at once. A server that is gone or does not answer in time is given up for a while.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kvstore/availability.h"
#include "kvstore/block_store.h"
#include "kvstore/record.h"
#include "kvstore/redis_connection.h"
#include "kvstore/store_queue.h"

namespace quire {

class RedisStore final : public BlockStore {
 public:
  struct Options {
    RedisAddress address;
    HashKey secret;                       // secret_key.h; the same for all that share
    std::string fingerprint;              // as for FileStore
    std::vector<uint64_t> payload_bytes;  // likewise
    int num_connections = 2;
    std::chrono::milliseconds connect_timeout{1000};
    std::chrono::milliseconds command_timeout{2000};
    std::chrono::milliseconds first_pause{1000};  // after a fault; doubles up to 60 times as long
  };

  // Does not wait for the server, which may come later.
  explicit RedisStore(Options options);
  RedisStore(const RedisStore&) = delete;
  RedisStore& operator=(const RedisStore&) = delete;
  ~RedisStore() override;

  void begin_find(Ticket ticket, std::span<const StoredBlockId> ids) override;
  void begin_read(Ticket ticket, const StoredBlock& block, std::span<const std::span<std::byte>> parts) override;
  void begin_write(Ticket ticket, const StoredBlock& block, std::span<const std::span<const std::byte>> parts) override;
  void cancel(Ticket ticket) override { queue_.cancel(ticket); }
  void poll(std::vector<Completion>& ended) override { queue_.take_ended(ended); }
  void on_ready(std::function<void()> wake) override { queue_.on_ready(std::move(wake)); }
  Statistics statistics() const override;
  const char* name() const override { return "redis"; }

 private:
  using Operation = StoreQueue::Operation;
  void push(const Operation& operation);
  std::string key_of(const StoredBlockId& id) const;
  size_t record_bytes(const StoredBlockId& id) const;

  // On a thread of the store.
  void run(bool connects_at_once);
  void run_batch(std::unique_ptr<RedisConnection>& connection, std::vector<Operation>& batch);
  std::unique_ptr<RedisConnection> connect();
  void ask(RedisConnection& connection, const StoreOperation& operation);
  // These remove what they settle from the batch.
  void settle_finds_and_reads(RedisConnection& connection, std::vector<Operation>& batch);
  void settle_writes(RedisConnection& connection, std::vector<Operation>& batch);
  bool take_record(const redisReply& reply, const Operation& operation);
  void refused_by_server(const redisReply& reply, const Operation& operation);

  Options options_;
  RecordSeal seal_;
  Availability availability_;
  size_t most_at_once_;  // operations of one exchange
  StoreQueue queue_;
  std::vector<std::thread> threads_;
};

}  // namespace quire
