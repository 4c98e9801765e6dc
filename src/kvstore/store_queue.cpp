#include "kvstore/store_queue.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace quire {

StoreOperation::StoreOperation(BlockStore::Ticket the_ticket, std::span<const StoredBlockId> the_ids)
    : ticket(the_ticket), kind(Kind::kFind), ids(the_ids.begin(), the_ids.end()) {}

StoreOperation::StoreOperation(BlockStore::Ticket the_ticket, const StoredBlock& block,
                               std::span<const std::span<std::byte>> destinations)
    : ticket(the_ticket),
      kind(Kind::kRead),
      ids{block.id},
      parent(block.parent),
      tokens(block.tokens.begin(), block.tokens.end()),
      parts(destinations.begin(), destinations.end()) {}

StoreOperation::StoreOperation(BlockStore::Ticket the_ticket, const StoredBlock& block,
                               std::span<const std::span<const std::byte>> the_sources)
    : ticket(the_ticket),
      kind(Kind::kWrite),
      ids{block.id},
      parent(block.parent),
      tokens(block.tokens.begin(), block.tokens.end()),
      sources(the_sources.begin(), the_sources.end()) {}

uint64_t StoreOperation::payload_bytes() const {
  uint64_t bytes = 0;
  for (const auto& part : parts) bytes += part.size();
  for (const auto& part : sources) bytes += part.size();
  return bytes;
}

void StoreOperation::copy_to(std::span<std::byte> payload) const {
  for (const auto& part : sources) {
    if (part.empty()) continue;
    std::memcpy(payload.data(), part.data(), part.size());
    payload = payload.subspan(part.size());
  }
}

void StoreOperation::copy_from(std::span<const std::byte> payload) {
  for (const auto& part : parts) {
    if (part.empty()) continue;
    std::memcpy(part.data(), payload.data(), part.size());
    payload = payload.subspan(part.size());
  }
}

bool StoreQueue::push(const Operation& operation) {
  const std::lock_guard lock(mutex_);
  CHECK(open_.emplace(operation->ticket, operation).second);
  const bool is_write = operation->kind == StoreOperation::Kind::kWrite;
  auto& queue = is_write ? writes_ : urgent_;
  if (is_stopped_ || queue.size() >= kMostWaiting) {
    settle_locked(operation, is_write ? StoreOutcome::kRefused : StoreOutcome::kFailed, 0);
    has_news_ = true;
    has_work_.notify_one();
    return false;
  }
  queue.push_back(operation);
  has_work_.notify_one();
  return true;
}

void StoreQueue::answer(const Operation& operation, StoreOutcome outcome, int64_t num_found) {
  const std::lock_guard lock(mutex_);
  CHECK(open_.emplace(operation->ticket, operation).second);
  end_locked(operation, outcome, num_found);
  has_news_ = true;
  has_work_.notify_one();
}

void StoreQueue::cancel(BlockStore::Ticket ticket) {
  const std::lock_guard lock(mutex_);
  const auto it = open_.find(ticket);
  if (it == open_.end()) return;  // has ended
  const Operation operation = it->second;
  operation->is_cancelled_ = true;
  auto& queue = operation->kind == StoreOperation::Kind::kWrite ? writes_ : urgent_;
  if (std::erase(queue, operation) > 0) {
    settle_locked(operation, StoreOutcome::kRefused, 0);
  } else if (!operation->is_claimed_) {
    end_locked(operation, StoreOutcome::kRefused, 0);
  }
  has_news_ = true;
  has_work_.notify_one();
}

void StoreQueue::take_ended(std::vector<BlockStore::Completion>& ended, std::vector<Operation>* settled) {
  const std::lock_guard lock(mutex_);
  ended.insert(ended.end(), ended_.begin(), ended_.end());
  ended_.clear();
  if (settled != nullptr) settled->insert(settled->end(), settled_.begin(), settled_.end());
  settled_.clear();
}

void StoreQueue::on_ready(std::function<void()> wake) {
  const std::lock_guard lock(wake_mutex_);
  wake_ = std::move(wake);
}

BlockStore::Statistics StoreQueue::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

StoreQueue::Operation StoreQueue::try_take(bool may_write) {
  const std::lock_guard lock(mutex_);
  return take_locked(may_write);
}

void StoreQueue::wait_take(size_t most, std::vector<Operation>& taken) {
  std::unique_lock lock(mutex_);
  has_work_.wait(lock, [this] { return is_stopped_ || has_news_ || !urgent_.empty() || !writes_.empty(); });
  if (std::exchange(has_news_, false)) return;
  while (taken.size() < most) {
    Operation next = take_locked(true);
    if (next == nullptr) return;
    taken.push_back(std::move(next));
  }
}

StoreQueue::Operation StoreQueue::take_locked(bool may_write) {
  auto& queue = !urgent_.empty() || !may_write ? urgent_ : writes_;
  if (queue.empty()) return nullptr;
  Operation taken = queue.front();
  queue.pop_front();
  return taken;
}

bool StoreQueue::claim(const Operation& operation) {
  const std::lock_guard lock(mutex_);
  if (operation->is_cancelled_) return false;
  operation->is_claimed_ = true;
  return true;
}

void StoreQueue::release(const Operation& operation) {
  {
    const std::lock_guard lock(mutex_);
    operation->is_claimed_ = false;
    if (!operation->is_cancelled_) return;
    end_locked(operation, StoreOutcome::kRefused, 0);
  }
  announce();
}

void StoreQueue::settle(const Operation& operation, StoreOutcome outcome, int64_t num_found) {
  {
    const std::lock_guard lock(mutex_);
    settle_locked(operation, outcome, num_found);
  }
  announce();
}

void StoreQueue::announce() {
  const std::lock_guard lock(wake_mutex_);
  if (wake_) wake_();
}

void StoreQueue::announce_news() {
  {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(has_news_, false)) return;
  }
  announce();
}

void StoreQueue::stop() {
  const std::lock_guard lock(mutex_);
  is_stopped_ = true;
  for (auto* queue : {&urgent_, &writes_}) {
    for (const Operation& operation : *queue) settle_locked(operation, StoreOutcome::kFailed, 0);
    queue->clear();
  }
  has_work_.notify_all();
}

bool StoreQueue::is_stopped() const {
  const std::lock_guard lock(mutex_);
  return is_stopped_;
}

void StoreQueue::settle_locked(const Operation& operation, StoreOutcome outcome, int64_t num_found) {
  operation->outcome = outcome;
  settled_.push_back(operation);
  if (outcome == StoreOutcome::kFailed) ++counts_.num_failed;
  if (outcome == StoreOutcome::kDone && operation->kind == StoreOperation::Kind::kRead) ++counts_.num_read;
  if (outcome == StoreOutcome::kDone && operation->kind == StoreOperation::Kind::kWrite) ++counts_.num_written;
  end_locked(operation, outcome, num_found);
}

void StoreQueue::end_locked(const Operation& operation, StoreOutcome outcome, int64_t num_found) {
  if (operation->has_ended_) return;
  operation->has_ended_ = true;
  open_.erase(operation->ticket);
  const std::chrono::duration<double, std::milli> took = StoreOperation::Clock::now() - operation->began;
  ended_.push_back({.ticket = operation->ticket, .outcome = outcome, .num_found = num_found, .ms = took.count()});
}

}  // namespace quire
