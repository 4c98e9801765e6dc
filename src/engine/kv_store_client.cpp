#include "engine/kv_store_client.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

constexpr size_t kReadsAtOnce = 64;             // of a fetch: more begin after a step only, and steps may be long
constexpr int64_t kWritesAtOnce = 16;           // of a group, and no more than its reserved share of the pool
constexpr double kWriteDeadlineMs = 1000;       // their blocks are held meanwhile
constexpr size_t kMaxOffers = 4096;             // blocks that wait to be written
constexpr std::chrono::seconds kLastWrites(2);  // at the end, for those
// Neither fetches nor writes may borrow from the last of so many parts of a pool.
constexpr int64_t kReservedShare = 8;
// Before the cost model is fitted: the time that a token takes to compute.
constexpr double kUnknownTokenMs = 0.1;
// A fetch may take this share of the time that computing takes, and a little more.
constexpr double kFetchShare = 0.5;
constexpr double kLeastDeadlineMs = 2.0;
// When fetching did not pay lately, its measured time loses this much each time, so that it is tried again.
constexpr double kForgetting = 0.9;

}  // namespace

KvStoreClient::KvStoreClient(std::unique_ptr<BlockStore> store, KvManager& kv, const CostModel& cost, Options options)
    : store_(std::move(store)), kv_(kv), cost_(cost), options_(std::move(options)), num_writes_(kv.num_groups(), 0) {
  kv_.on_published([this](const KvManager::Published& published) { offer(published); });
}

KvStoreClient::~KvStoreClient() {
  kv_.on_published({});
  for (const auto& fetch : fetches_) let_go(*fetch);
  const auto give_up = std::chrono::steady_clock::now() + kLastWrites;
  while (true) {
    if (std::chrono::steady_clock::now() > give_up) {
      offers_.clear();
      for (const auto& [ticket, operation] : operations_) store_->cancel(ticket);
    }
    begin_writes();
    if (operations_.empty()) break;
    ended_.clear();
    store_->poll(ended_);
    for (const BlockStore::Completion& completion : ended_) take(completion);
    if (ended_.empty()) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

double KvStoreClient::compute_ms(int64_t first_block, int64_t num_blocks) const {
  const int64_t size = kv_.block_size();
  const auto rows = static_cast<double>(num_blocks * size);
  if (!cost_.is_fitted()) return rows * kUnknownTokenMs;
  const double before = static_cast<double>(first_block * size);
  return cost_.predict_ms({.rows = num_blocks * size, .sequences = 1, .attended = rows * (before + (rows + 1) / 2)});
}

void KvStoreClient::want(Sequence& sequence) {
  if (!sequence.shares_cache || sequence.needs_all_rows) return;
  // The last token is always computed, because its logits are needed.
  const int64_t most = (sequence.num_tokens() - 1) / kv_.block_size();
  const int64_t first = kv_.find_prefix(sequence, most).num_blocks;
  if (most - first < options_.min_blocks) return;
  auto fetch = std::make_unique<Fetch>();
  fetch->sequence = &sequence;
  fetch->first = first;
  fetch->end = most;
  fetch->started_ms = options_.now_ms();
  fetch->deadline_ms = fetch->started_ms + kLeastDeadlineMs + kFetchShare * compute_ms(first, most - first);
  const std::span<const PrefixHash> hashes = kv_.hashes(sequence, most).subspan(static_cast<size_t>(first));
  fetch->hashes.assign(hashes.begin(), hashes.end());
  const auto begin = sequence.tokens.begin() + first * kv_.block_size();
  fetch->tokens.assign(begin, begin + (most - first) * kv_.block_size());
  std::vector<StoredBlockId> ids;
  for (size_t i = 1; i < fetch->hashes.size(); ++i) {
    for (size_t g = 0; g < kv_.num_groups(); ++g) ids.push_back({fetch->hashes[i], static_cast<int32_t>(g)});
  }
  statistics_.num_queried_tokens += (most - first) * kv_.block_size();
  sequence.awaits_blocks = true;
  ++num_waiting_;
  fetch->num_pending = 1;
  operations_[next_ticket_] = {.fetch = fetch.get(), .wanted = kFind};
  fetches_.push_back(std::move(fetch));
  store_->begin_find(next_ticket_++, ids);
}

void KvStoreClient::forget(const Sequence& sequence) {
  for (const auto& fetch : fetches_) {
    if (fetch->sequence == &sequence) let_go(*fetch);
  }
}

// The sequence waits no longer. What the store still reads stays held until it has ended.
void KvStoreClient::let_go(Fetch& fetch) {
  if (fetch.sequence == nullptr) return;
  std::exchange(fetch.sequence, nullptr)->awaits_blocks = false;
  --num_waiting_;
  for (const auto& [ticket, operation] : operations_) {
    if (operation.fetch == &fetch) store_->cancel(ticket);
  }
  fetch.num_begun = fetch.wanted.size();
}

void KvStoreClient::advance() {
  ended_.clear();
  store_->poll(ended_);
  for (const BlockStore::Completion& completion : ended_) take(completion);
  const double now = options_.now_ms();
  for (const auto& fetch : fetches_) {
    if (fetch->sequence != nullptr && fetch->num_pending > 0 && now > fetch->deadline_ms) {
      ++statistics_.num_cut;
      finish(*fetch);
    }
  }
  for (const auto& [ticket, operation] : operations_) {
    if (operation.fetch == nullptr && now > operation.began_ms + kWriteDeadlineMs) store_->cancel(ticket);
  }
  // Those of which the store has ended everything.
  std::erase_if(fetches_, [this](const std::unique_ptr<Fetch>& fetch) {
    if (fetch->num_pending > 0) return false;
    if (fetch->sequence != nullptr) finish(*fetch);
    for (auto wanted = fetch->wanted.rbegin(); wanted != fetch->wanted.rend(); ++wanted) {
      if (wanted->block != kNoBlock) kv_.take_back(wanted->group, wanted->block);
    }
    for (auto held = fetch->held.rbegin(); held != fetch->held.rend(); ++held) kv_.take_back(held->first, held->second);
    return true;
  });
  begin_writes();
}

void KvStoreClient::take(const BlockStore::Completion& completion) {
  const auto at = operations_.find(completion.ticket);
  CHECK(at != operations_.end());
  const Operation operation = at->second;
  operations_.erase(at);
  if (operation.fetch == nullptr) {
    kv_.take_back(operation.group, operation.block);
    --num_writes_[operation.group];
    return;
  }
  Fetch& fetch = *operation.fetch;
  --fetch.num_pending;
  const bool is_done = completion.outcome == StoreOutcome::kDone;
  if (operation.wanted == kFind) {
    if (is_done && fetch.sequence != nullptr) found(fetch, completion.num_found);
    return;
  }
  fetch.wanted[operation.wanted].is_here = is_done && fetch.sequence != nullptr;
  if (!is_done) fetch.has_failed = true;
  if (fetch.sequence != nullptr) begin_reads(fetch);
}

bool KvStoreClient::pays(int64_t num_blocks, double compute_ms) const {
  return ms_per_block_ * static_cast<double>(num_blocks) < kFetchShare * compute_ms;
}

void KvStoreClient::found(Fetch& fetch, int64_t num_found) {
  const int64_t count = num_found / static_cast<int64_t>(kv_.num_groups());
  fetch.end = fetch.first + count;
  if (count < options_.min_blocks) return;
  const double compute = compute_ms(fetch.first, count);
  if (!pays(count, compute)) {
    ms_per_block_ *= kForgetting;
    return;
  }
  fetch.deadline_ms = fetch.started_ms + kLeastDeadlineMs + kFetchShare * compute;
  if (borrow(fetch)) begin_reads(fetch);
}

// How many blocks of the group's pool may be borrowed.
int64_t KvStoreClient::spare(size_t group) const {
  const BlockManager& blocks = kv_.blocks(group);
  return blocks.num_available() - blocks.num_total() / kReservedShare;
}

// Takes blocks of the pools for what is to be read: of a group with a window, what the token after the prefix sees.
// The blocks that it continues are held too, or they might be evicted for it. False when these are not there any more,
// or a pool has not enough to spare.
bool KvStoreClient::borrow(Fetch& fetch) {
  const PrefixHit hit = kv_.find_prefix(*fetch.sequence, fetch.first);
  if (hit.num_blocks != fetch.first) return false;
  const std::span<const PrefixHash> hashes = kv_.hashes(*fetch.sequence, fetch.first);
  for (size_t g = 0; g < hit.tables.size(); ++g) {
    for (size_t i = 0; i < hit.tables[g].size(); ++i) {
      const int32_t block = hit.tables[g][i];
      if (block != kNoBlock && kv_.lend_published(g, block, hashes[i + 1])) fetch.held.emplace_back(g, block);
    }
  }
  const auto first_wanted = [&](size_t g) {
    return std::max(fetch.first, kv_.first_block_seen(g, fetch.end * kv_.block_size()));
  };
  for (size_t g = 0; g < kv_.num_groups(); ++g) {
    if (fetch.end - first_wanted(g) > spare(g)) return false;
  }
  for (int64_t index = fetch.first; index < fetch.end; ++index) {
    for (size_t g = 0; g < kv_.num_groups(); ++g) {
      if (index >= first_wanted(g)) fetch.wanted.push_back({.group = g, .index = index, .block = kv_.lend(g)});
    }
  }
  return true;
}

void KvStoreClient::begin_reads(Fetch& fetch) {
  while (fetch.num_begun < fetch.wanted.size() && fetch.num_pending < kReadsAtOnce && !fetch.has_failed) {
    const Wanted& wanted = fetch.wanted[fetch.num_begun];
    const auto i = static_cast<size_t>(wanted.index - fetch.first);
    const auto size = static_cast<size_t>(kv_.block_size());
    const StoredBlock block = {.id = {fetch.hashes[i + 1], static_cast<int32_t>(wanted.group)},
                               .parent = fetch.hashes[i],
                               .tokens = std::span(fetch.tokens).subspan(i * size, size)};
    operations_[next_ticket_] = {.fetch = &fetch, .wanted = fetch.num_begun++};
    ++fetch.num_pending;
    store_->begin_read(next_ticket_++, block, options_.parts(static_cast<int>(wanted.group), wanted.block));
  }
}

// The blocks from the first on that are whole in all groups.
int64_t KvStoreClient::num_here(const Fetch& fetch) const {
  for (const Wanted& wanted : fetch.wanted) {
    if (!wanted.is_here) return wanted.index - fetch.first;
  }
  return fetch.wanted.empty() ? 0 : fetch.end - fetch.first;
}

// Publishes what is here and lets the sequence go on.
void KvStoreClient::finish(Fetch& fetch) {
  const int64_t count = num_here(fetch);
  const auto size = static_cast<size_t>(kv_.block_size());
  for (const Wanted& wanted : fetch.wanted) {
    const auto i = static_cast<size_t>(wanted.index - fetch.first);
    if (wanted.index - fetch.first >= count) break;
    kv_.publish_fetched(wanted.group, wanted.block, fetch.hashes[i], fetch.hashes[i + 1],
                        std::span(fetch.tokens).subspan(i * size, size));
  }
  const double ms = options_.now_ms() - fetch.started_ms;
  if (!fetch.wanted.empty()) {
    const double per_block = ms / static_cast<double>(std::max<int64_t>(count, 1));
    ms_per_block_ += (ms_per_block_ == 0 ? 1.0 : 0.3) * (per_block - ms_per_block_);
    // With windows less than what is here may be of use.
    const int64_t found = kv_.find_prefix(*fetch.sequence, fetch.end).num_blocks;
    statistics_.num_fetched_tokens += std::max<int64_t>(found - fetch.first, 0) * kv_.block_size();
    statistics_.fetch_ms += ms;
  }
  let_go(fetch);
}

void KvStoreClient::offer(const KvManager::Published& published) {
  if (offers_.size() >= kMaxOffers) {  // the newest goes: those that come after others are of no use without them
    ++statistics_.num_dropped;
    return;
  }
  offers_.push_back({.group = published.group,
                     .block = published.block,
                     .parent = published.parent,
                     .hash = published.hash,
                     .tokens = {published.tokens.begin(), published.tokens.end()}});
}

void KvStoreClient::begin_writes() {
  const auto may_write = [this](size_t group) {
    const int64_t most = std::min(kWritesAtOnce, std::max<int64_t>(1, kv_.blocks(group).num_total() / kReservedShare));
    return num_writes_[group] < most && spare(group) > 0;
  };
  while (!offers_.empty() && may_write(offers_.front().group)) {
    const Offer offer = std::move(offers_.front());
    offers_.pop_front();
    // It may have been evicted since, or hold something else.
    if (!kv_.lend_published(offer.group, offer.block, offer.hash)) {
      ++statistics_.num_dropped;
      continue;
    }
    const Parts parts = options_.parts(static_cast<int>(offer.group), offer.block);
    const std::vector<std::span<const std::byte>> constant(parts.begin(), parts.end());
    operations_[next_ticket_] = {.group = offer.group, .block = offer.block, .began_ms = options_.now_ms()};
    ++num_writes_[offer.group];
    store_->begin_write(
        next_ticket_++,
        {.id = {offer.hash, static_cast<int32_t>(offer.group)}, .parent = offer.parent, .tokens = offer.tokens},
        constant);
  }
}

}  // namespace quire
