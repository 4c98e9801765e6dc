#include "engine/status_counter.h"

#include <algorithm>
#include <utility>

namespace quire {

namespace {

std::vector<BlockState> block_map(const BlockManager& blocks) {
  std::vector<BlockState> map(static_cast<size_t>(blocks.num_total()));
  for (int32_t block = 0; block < blocks.num_total(); ++block) map[block] = blocks.state(block);
  return map;
}

EngineStatus::KvStore status_of(const KvStoreClient& client) {
  const BlockStore::Statistics store = client.store().statistics();
  const KvStoreClient::Statistics& own = client.statistics();
  return {.name = client.store().name(),
          .is_available = store.is_available,
          .num_blocks = store.num_blocks,
          .bytes = store.bytes,
          .capacity_bytes = store.capacity_bytes,
          .queried_tokens = own.num_queried_tokens,
          .fetched_tokens = own.num_fetched_tokens,
          .cut_fetches = own.num_cut,
          .fetch_ms = own.fetch_ms,
          .blocks_read = store.num_read,
          .blocks_written = store.num_written,
          .blocks_evicted = store.num_evicted,
          .blocks_dropped = own.num_dropped,
          .failures = store.num_failed};
}

}  // namespace

StatusCounter::StatusCounter(const Scheduler& scheduler) {
  counted_.blocks_total = scheduler.blocks().num_total();
  counted_.block_size = scheduler.options().block_size;
  for (const KvGroupOptions& group : scheduler.options().kv_groups) {
    counted_.kv_groups.push_back({.window = group.window, .blocks_total = group.num_blocks});
  }
  published_ = counted_;
}

void StatusCounter::count_start(const Sequence& sequence) {
  counted_.prompt_tokens += sequence.num_prompt_tokens;
  counted_.cached_tokens += sequence.num_cached_tokens;
}

void StatusCounter::count_drafts(int64_t num_verified, int64_t num_accepted) {
  ++counted_.num_drafts;
  counted_.draft_tokens += num_verified;
  counted_.accepted_tokens += num_accepted;
  const auto num_positions = std::min(num_accepted, static_cast<int64_t>(kDraftPositions));
  for (int64_t i = 0; i < num_positions; ++i) ++counted_.accepted_by_position[static_cast<size_t>(i)];
}

void StatusCounter::count_finish(FinishReason reason) {
  counted_.num_cancelled += reason == FinishReason::kCancelled ? 1 : 0;
  counted_.num_timed_out += reason == FinishReason::kTimeout ? 1 : 0;
  counted_.num_failed += reason == FinishReason::kError ? 1 : 0;
  counted_.num_aborted += reason == FinishReason::kAborted ? 1 : 0;
}

void StatusCounter::count_step(const StepShape& shape, const StepTimes& times) {
  const auto bucket = [](const auto& bounds, auto value) {
    return static_cast<size_t>(std::lower_bound(bounds.begin(), bounds.end(), value) - bounds.begin());
  };
  ++counted_.num_steps;
  ++counted_.step_tokens[bucket(kStepTokenBounds, shape.rows)];
  ++counted_.step_ms[bucket(kStepMsBounds, times.plan_ms + times.run_ms + times.decode_ms)];
  counted_.computed_tokens += shape.rows;
  counted_.plan_ms += times.plan_ms;
  counted_.run_ms += times.run_ms;
  counted_.decode_ms += times.decode_ms;
}

void StatusCounter::publish(const Scheduler& scheduler, const KvStoreClient* kv_store) {
  if (kv_store != nullptr) counted_.kv_store = status_of(*kv_store);
  const BlockManager& blocks = scheduler.blocks();
  counted_.num_running = scheduler.num_running();
  counted_.num_waiting = scheduler.num_waiting();
  counted_.num_swapped = scheduler.num_swapped();
  counted_.num_preemptions = scheduler.num_preemptions();
  counted_.num_swaps = scheduler.num_swaps();
  counted_.blocks_active = blocks.num_active();
  counted_.blocks_cached = blocks.num_cached();
  const bool maps_blocks = wants_blocks_.exchange(false);
  for (size_t i = 0; i < counted_.kv_groups.size(); ++i) {
    const BlockManager& of_group = scheduler.blocks(i);
    counted_.kv_groups[i].blocks_active = of_group.num_active();
    counted_.kv_groups[i].blocks_cached = of_group.num_cached();
    if (maps_blocks) counted_.blocks.push_back(block_map(of_group));
  }
  const std::lock_guard lock(mutex_);
  // The maps are moved, not copied: they may be large, and most steps do not include any.
  auto maps = std::move(counted_.blocks.empty() ? published_.blocks : counted_.blocks);
  counted_.blocks.clear();
  published_ = counted_;
  published_.blocks = std::move(maps);
}

EngineStatus StatusCounter::read(bool with_blocks) const {
  EngineStatus status;
  {
    const std::lock_guard lock(mutex_);
    status = published_;
  }
  if (!with_blocks) status.blocks.clear();
  return status;
}

}  // namespace quire
