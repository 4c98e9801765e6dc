#include "kvstore/file_store.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"

namespace quire {
namespace {

constexpr size_t kBufferMemory = size_t{64} << 20;
constexpr size_t kMostBuffers = 32;
constexpr size_t kLeastBuffers = 2;
constexpr int kDiskThreads = 4;  // where there is no io_uring

KvFile::Layout layout_of(const FileStore::Options& options, const PrefixHash& tag) {
  KvFile::Layout layout{.capacity_bytes = options.capacity_bytes, .record_bytes = options.payload_bytes, .tag = tag};
  for (uint64_t& bytes : layout.record_bytes) bytes += RecordSeal::kHeaderBytes;
  return layout;
}

size_t largest_slot(const FileStore::Options& options) {
  CHECK(!options.payload_bytes.empty());
  const uint64_t record = std::ranges::max(options.payload_bytes) + RecordSeal::kHeaderBytes;
  return (record + KvFile::kPageBytes - 1) / KvFile::kPageBytes * KvFile::kPageBytes;
}

size_t buffers_for(size_t slot_bytes) { return std::clamp(kBufferMemory / slot_bytes, kLeastBuffers, kMostBuffers); }

std::byte* allocate_pages(size_t bytes) {
  void* memory = std::aligned_alloc(KvFile::kPageBytes, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, bytes);  // no part of another thing's memory gets to the disk
  return static_cast<std::byte*>(memory);
}

std::unique_ptr<DiskQueue> usual_queue(int file, int most_at_once) {
  auto queue = make_ring_queue(file, most_at_once);
  return queue != nullptr ? std::move(queue) : make_thread_queue(file, std::min(most_at_once, kDiskThreads));
}

}  // namespace

FileStore::FileStore(Options options)
    : options_(std::move(options)),
      seal_(options_.secret, options_.fingerprint),
      file_(options_.path, layout_of(options_, seal_.tag())),
      availability_({.subject = fmt::format("the KV disk '{}'", printable(options_.path.string(), 400)),
                     .faults_to_give_up = 3,
                     .first_pause = options_.first_pause,
                     .longest_pause = 6 * options_.first_pause}),
      num_buffers_(buffers_for(largest_slot(options_))),
      buffer_size_(largest_slot(options_)),
      memory_(allocate_pages(num_buffers_ * buffer_size_), std::free),
      in_buffers_(num_buffers_) {
  for (size_t buffer = num_buffers_; buffer-- > 0;) free_buffers_.push_back(buffer);
  load_tables();
  const auto& make_queue = options_.make_queue ? options_.make_queue : usual_queue;
  disk_ = make_queue(file_.slots_file(), static_cast<int>(num_buffers_));
  thread_ = std::thread([this] { run(); });
}

FileStore::~FileStore() {
  queue_.on_ready({});
  queue_.stop();
  disk_->nudge();
  thread_.join();
  std::vector<Completion> ended;
  poll(ended);
  save_tables();
}

void FileStore::begin_find(Ticket ticket, std::span<const StoredBlockId> ids) {
  const auto slot_of = [this](const StoredBlockId& id) { return tables_[static_cast<size_t>(id.group)].find(id.hash); };
  size_t num_found = 0;
  if (availability_.may_try()) {
    while (num_found < ids.size() && slot_of(ids[num_found]) >= 0) ++num_found;
  }
  // The last first: a prefix goes from its end, since its later blocks are of no use without the earlier ones.
  for (size_t i = num_found; i-- > 0;) tables_[static_cast<size_t>(ids[i].group)].refresh(slot_of(ids[i]));
  queue_.answer(std::make_shared<StoreOperation>(ticket, ids), StoreOutcome::kDone, static_cast<int64_t>(num_found));
  disk_->nudge();
}

void FileStore::begin_read(Ticket ticket, const StoredBlock& block, std::span<const std::span<std::byte>> parts) {
  const auto operation = std::make_shared<StoreOperation>(ticket, block, parts);
  const auto group = static_cast<size_t>(block.id.group);
  CHECK(group < tables_.size() && operation->payload_bytes() == options_.payload_bytes[group]);
  operation->slot = tables_[group].find(block.id.hash);
  if (operation->slot < 0) {
    queue_.answer(operation, StoreOutcome::kMissing);
  } else if (!availability_.may_try()) {
    queue_.answer(operation, StoreOutcome::kFailed);
  } else {
    tables_[group].hold(operation->slot);
    queue_.push(operation);
  }
  disk_->nudge();
}

void FileStore::begin_write(Ticket ticket, const StoredBlock& block,
                            std::span<const std::span<const std::byte>> parts) {
  const auto operation = std::make_shared<StoreOperation>(ticket, block, parts);
  const auto group = static_cast<size_t>(block.id.group);
  CHECK(group < tables_.size() && operation->payload_bytes() == options_.payload_bytes[group]);
  if (!tables_[group].contains(block.id.hash) && availability_.may_try()) {
    operation->slot = tables_[group].reserve(block.id.hash);
  }
  if (operation->slot >= 0) {
    operation->stamp = next_stamp_++;
    queue_.push(operation);
  } else {
    queue_.answer(operation, StoreOutcome::kRefused);
  }
  disk_->nudge();
}

void FileStore::cancel(Ticket ticket) {
  queue_.cancel(ticket);
  disk_->nudge();
}

void FileStore::poll(std::vector<Completion>& ended) {
  std::vector<Operation> settled;
  queue_.take_ended(ended, &settled);
  for (const Operation& operation : settled) apply(*operation);
}

BlockStore::Statistics FileStore::statistics() const {
  Statistics statistics = queue_.counts();
  statistics.capacity_bytes = options_.capacity_bytes;
  statistics.is_available = availability_.is_available();
  for (size_t group = 0; group < tables_.size(); ++group) {
    statistics.num_blocks += tables_[group].num_blocks();
    statistics.num_evicted += tables_[group].num_evicted();
    statistics.bytes += static_cast<uint64_t>(tables_[group].num_blocks()) * file_.slot_bytes(group);
  }
  return statistics;
}

std::string FileStore::method() const {
  return fmt::format("{}, {}", disk_->name(), file_.is_direct() ? "direct" : "through the system's cache");
}

void FileStore::load_tables() {
  for (size_t group = 0; group < options_.payload_bytes.size(); ++group) {
    const auto entries = file_.read_table(group);
    tables_.emplace_back(file_.num_slots()).load(entries);
    for (const SlotEntry& entry : entries) {
      if (entry.stamp < SlotTable::kMostStamp) next_stamp_ = std::max(next_stamp_, entry.stamp + 1);
    }
  }
}

// In the order in which blocks would go.
void FileStore::save_tables() const {
  for (size_t group = 0; group < tables_.size(); ++group) file_.write_table(group, tables_[group].entries());
}

void FileStore::apply(const StoreOperation& settled) {
  SlotTable& table = tables_[static_cast<size_t>(settled.ids.front().group)];
  if (settled.kind == StoreOperation::Kind::kWrite) {
    settled.outcome == StoreOutcome::kDone ? table.publish(settled.slot) : table.release(settled.slot);
    return;
  }
  if (settled.is_bad) table.drop(settled.slot);
  if (settled.outcome == StoreOutcome::kDone) table.promote(settled.slot);
  table.unhold(settled.slot);
}

void FileStore::run() {
  std::vector<DiskQueue::Result> results;
  while (true) {
    start_operations();
    if (queue_.is_stopped() && free_buffers_.size() == num_buffers_) return;
    results.clear();
    disk_->wait(results);
    for (const auto& result : results) finish(static_cast<size_t>(result.tag), result.error);
    queue_.announce_news();
  }
}

// Reads go first, and writes leave half of the buffers to them.
void FileStore::start_operations() {
  while (!free_buffers_.empty()) {
    const bool may_write = 2 * free_buffers_.size() > num_buffers_;
    const Operation operation = queue_.try_take(may_write);
    if (operation == nullptr) return;
    const size_t buffer = free_buffers_.back();
    if (start(buffer, operation)) {
      free_buffers_.pop_back();
      in_buffers_[buffer] = operation;
    }
  }
}

bool FileStore::start(size_t buffer, const Operation& operation) {
  const auto group = static_cast<size_t>(operation->ids.front().group);
  const bool is_write = operation->kind == StoreOperation::Kind::kWrite;
  if (is_write) {
    if (!queue_.claim(operation)) {
      queue_.settle(operation, StoreOutcome::kRefused);
      return false;
    }
    const auto record = buffer_bytes(buffer, RecordSeal::kHeaderBytes + options_.payload_bytes[group]);
    operation->copy_to(record.subspan(RecordSeal::kHeaderBytes));
    queue_.release(operation);
    seal_.seal(record, operation->block());
  }
  disk_->start({.tag = buffer,
                .is_write = is_write,
                .offset = file_.slot_offset(group, operation->slot),
                .bytes = buffer_bytes(buffer, file_.slot_bytes(group))});
  return true;
}

void FileStore::finish(size_t buffer, int error) {
  const Operation operation = std::exchange(in_buffers_[buffer], nullptr);
  if (error != 0) {
    operation->is_bad = operation->kind == StoreOperation::Kind::kRead;
    availability_.failed(std::strerror(error));
    queue_.settle(operation, StoreOutcome::kFailed);
  } else if (operation->kind == StoreOperation::Kind::kRead) {
    availability_.succeeded();
    finish_read(buffer, operation);
  } else {
    availability_.succeeded();
    const StoredBlockId& id = operation->ids.front();
    file_.write_entry(static_cast<size_t>(id.group), operation->slot, {.hash = id.hash, .stamp = operation->stamp});
    queue_.settle(operation, StoreOutcome::kDone);
  }
  free_buffers_.push_back(buffer);
}

void FileStore::finish_read(size_t buffer, const Operation& operation) {
  const auto group = static_cast<size_t>(operation->ids.front().group);
  const auto record = buffer_bytes(buffer, RecordSeal::kHeaderBytes + options_.payload_bytes[group]);
  if (!seal_.proves(record, operation->block())) {
    operation->is_bad = true;
    queue_.settle(operation, StoreOutcome::kFailed);
    return;
  }
  if (!queue_.claim(operation)) {
    queue_.settle(operation, StoreOutcome::kRefused);
    return;
  }
  operation->copy_from(record.subspan(RecordSeal::kHeaderBytes));
  queue_.release(operation);
  queue_.settle(operation, StoreOutcome::kDone);
}

std::span<std::byte> FileStore::buffer_bytes(size_t buffer, size_t size) const {
  return {memory_.get() + buffer * buffer_size_, size};
}

}  // namespace quire
