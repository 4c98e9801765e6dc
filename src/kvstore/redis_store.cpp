#include "kvstore/redis_store.h"

#include <hiredis/hiredis.h>
#include <signal.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr size_t kBatchMemory = size_t{16} << 20;
constexpr size_t kMostOfBatch = 8;

std::string hexadecimal(const PrefixHash& hash) { return fmt::format("{:016x}{:016x}", hash.high, hash.low); }

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A server that closes its connection must not end the process.
void block_pipe_signal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

StoreOutcome outcome_without_server(const StoreOperation& operation) {
  switch (operation.kind) {
    case StoreOperation::Kind::kFind: return StoreOutcome::kDone;  // of none
    case StoreOperation::Kind::kRead: return StoreOutcome::kFailed;
    case StoreOperation::Kind::kWrite: return StoreOutcome::kRefused;
  }
  return StoreOutcome::kFailed;
}

}  // namespace

RedisStore::RedisStore(Options options)
    : options_(std::move(options)),
      seal_(options_.secret, options_.fingerprint),
      availability_({.subject = fmt::format("the KV store {}", options_.address.printed()),
                     .faults_to_give_up = 3,
                     .first_pause = options_.first_pause,
                     .longest_pause = 60 * options_.first_pause}) {
  CHECK(!options_.payload_bytes.empty() && options_.num_connections > 0);
  most_at_once_ = std::clamp<size_t>(kBatchMemory / std::ranges::max(options_.payload_bytes), 1, kMostOfBatch);
  for (int i = 0; i < options_.num_connections; ++i) threads_.emplace_back([this, i] { run(i == 0); });
}

RedisStore::~RedisStore() {
  queue_.on_ready({});
  queue_.stop();
  for (auto& thread : threads_) thread.join();
}

void RedisStore::begin_find(Ticket ticket, std::span<const StoredBlockId> ids) {
  push(std::make_shared<StoreOperation>(ticket, ids));
}

void RedisStore::begin_read(Ticket ticket, const StoredBlock& block, std::span<const std::span<std::byte>> parts) {
  push(std::make_shared<StoreOperation>(ticket, block, parts));
}

void RedisStore::begin_write(Ticket ticket, const StoredBlock& block,
                             std::span<const std::span<const std::byte>> parts) {
  push(std::make_shared<StoreOperation>(ticket, block, parts));
}

BlockStore::Statistics RedisStore::statistics() const {
  Statistics statistics = queue_.counts();
  statistics.num_blocks = -1;
  statistics.is_available = availability_.is_available();
  return statistics;
}

void RedisStore::push(const Operation& operation) {
  if (operation->kind != StoreOperation::Kind::kFind) {
    CHECK(operation->payload_bytes() + RecordSeal::kHeaderBytes == record_bytes(operation->ids.front()));
  }
  if (availability_.may_try()) {
    queue_.push(operation);
  } else {
    queue_.answer(operation, outcome_without_server(*operation));
  }
}

std::string RedisStore::key_of(const StoredBlockId& id) const {
  return fmt::format("quire:kv:{}:{}:{}", hexadecimal(seal_.tag()), id.group, hexadecimal(id.hash));
}

size_t RedisStore::record_bytes(const StoredBlockId& id) const {
  const auto group = static_cast<size_t>(id.group);
  CHECK(group < options_.payload_bytes.size());
  return RecordSeal::kHeaderBytes + options_.payload_bytes[group];
}

void RedisStore::run(bool connects_at_once) {
  block_pipe_signal();
  std::unique_ptr<RedisConnection> connection;
  std::vector<Operation> batch;
  if (connects_at_once) run_batch(connection, batch);  // so that a wrong address is in the log from the start
  while (true) {
    queue_.wait_take(most_at_once_, batch);
    if (queue_.is_stopped() && batch.empty()) return;
    if (batch.empty()) {
      queue_.announce();
    } else {
      run_batch(connection, batch);
    }
    batch.clear();
  }
}

void RedisStore::run_batch(std::unique_ptr<RedisConnection>& connection, std::vector<Operation>& batch) {
  if (!availability_.may_try()) {
    for (const Operation& operation : batch) queue_.settle(operation, outcome_without_server(*operation));
    return;
  }
  try {
    if (connection == nullptr) connection = connect();
    for (const Operation& operation : batch) ask(*connection, *operation);
    settle_finds_and_reads(*connection, batch);
    settle_writes(*connection, batch);
  } catch (const Error& error) {
    connection.reset();
    if (!queue_.is_stopped()) availability_.failed(error.what(), true);
    for (const Operation& operation : batch) queue_.settle(operation, StoreOutcome::kFailed);
  }
}

std::unique_ptr<RedisConnection> RedisStore::connect() {
  const uint64_t largest = std::ranges::max(options_.payload_bytes) + RecordSeal::kHeaderBytes;
  return std::make_unique<RedisConnection>(
      RedisConnection::Options{.address = options_.address,
                               .connect_timeout = options_.connect_timeout,
                               .command_timeout = options_.command_timeout,
                               .most_reply_bytes = most_at_once_ * largest,
                               .should_stop = [this] {
                                 queue_.announce_news();  // not after all that the server takes
                                 return queue_.is_stopped();
                               }});
}

// A write asks first whether the block is there.
void RedisStore::ask(RedisConnection& connection, const StoreOperation& operation) {
  const char* const command = operation.kind == StoreOperation::Kind::kRead ? "GET" : "EXISTS";
  for (const StoredBlockId& id : operation.ids) {
    const std::string key = key_of(id);
    connection.append(std::vector<std::string_view>{command, key});
  }
}

void RedisStore::settle_finds_and_reads(RedisConnection& connection, std::vector<Operation>& batch) {
  const auto replies = connection.exchange();
  size_t at = 0;
  std::vector<Operation> to_write;
  std::vector<Operation> damaged;
  for (const Operation& operation : std::exchange(batch, {})) {
    const auto own = std::span(replies).subspan(at, operation->ids.size());
    at += own.size();
    const auto is_number = [](const auto& reply) { return reply->type == REDIS_REPLY_INTEGER; };
    const auto is_there = [](const auto& reply) { return reply->integer == 1; };
    if (operation->kind != StoreOperation::Kind::kRead) {
      if (const auto other = std::ranges::find_if_not(own, is_number); other != own.end()) {
        refused_by_server(**other, operation);
      } else if (operation->kind == StoreOperation::Kind::kFind) {
        availability_.succeeded();
        queue_.settle(operation, StoreOutcome::kDone, std::ranges::find_if_not(own, is_there) - own.begin());
      } else if (is_there(own[0])) {
        queue_.settle(operation, StoreOutcome::kRefused);
      } else {
        to_write.push_back(operation);
      }
    } else if (!take_record(*own[0], operation)) {
      damaged.push_back(operation);
    }
  }
  batch = std::move(to_write);
  for (const Operation& operation : damaged) {
    const std::string key = key_of(operation->ids.front());
    connection.append(std::vector<std::string_view>{"DEL", key});
  }
  connection.exchange();
}

// False when the server has something else under the block's name.
bool RedisStore::take_record(const redisReply& reply, const Operation& operation) {
  if (reply.type == REDIS_REPLY_NIL) {
    availability_.succeeded();
    queue_.settle(operation, StoreOutcome::kMissing);
    return true;
  }
  if (reply.type != REDIS_REPLY_STRING) {
    refused_by_server(reply, operation);
    return true;
  }
  availability_.succeeded();
  const auto record = std::as_bytes(std::span(reply.str, static_cast<size_t>(reply.len)));
  if (record.size() != record_bytes(operation->ids.front()) || !seal_.proves(record, operation->block())) {
    queue_.settle(operation, StoreOutcome::kFailed);
    return false;
  }
  if (!queue_.claim(operation)) {
    queue_.settle(operation, StoreOutcome::kRefused);
    return true;
  }
  operation->copy_from(record.subspan(RecordSeal::kHeaderBytes));
  queue_.release(operation);
  queue_.settle(operation, StoreOutcome::kDone);
  return true;
}

void RedisStore::settle_writes(RedisConnection& connection, std::vector<Operation>& batch) {
  std::vector<Operation> sent;
  std::vector<std::byte> record;
  for (const Operation& operation : batch) {
    if (!queue_.claim(operation)) continue;
    record.resize(record_bytes(operation->ids.front()));
    operation->copy_to(std::span(record).subspan(RecordSeal::kHeaderBytes));
    queue_.release(operation);
    seal_.seal(record, operation->block());
    const std::string key = key_of(operation->ids.front());
    connection.append(std::vector<std::string_view>{"SET", key, text_of(record)});
    sent.push_back(operation);
  }
  const auto replies = connection.exchange();
  for (size_t i = 0; i < sent.size(); ++i) {
    if (replies[i]->type == REDIS_REPLY_STATUS) {
      availability_.succeeded();
      queue_.settle(sent[i], StoreOutcome::kDone);
    } else {
      refused_by_server(*replies[i], sent[i]);
    }
  }
  for (const Operation& operation : batch) {
    if (std::ranges::find(sent, operation) == sent.end()) queue_.settle(operation, StoreOutcome::kRefused);
  }
  batch.clear();
}

void RedisStore::refused_by_server(const redisReply& reply, const Operation& operation) {
  const bool has_text = reply.type == REDIS_REPLY_ERROR;
  availability_.failed(has_text ? printable({reply.str, static_cast<size_t>(reply.len)}) : "a reply of a wrong type");
  queue_.settle(operation, StoreOutcome::kFailed);
}

}  // namespace quire
