#include "models/running/layer_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

using Clock = std::chrono::steady_clock;

size_t num_places(const StreamPlan& plan) {
  size_t count = 0;
  for (const StreamPlan::Section& section : plan.sections) count += section.num_chunks(plan.chunk_bytes);
  return count;
}

}  // namespace

LayerStream::LayerStream(StreamPlan plan, Read read, const Options& options)
    : plan_(std::move(plan)),
      read_(std::move(read)),
      patience_(options.patience),
      memory_({.num_places = num_places(plan_),
               .num_chunks = plan_.num_chunks,
               .chunk_bytes = plan_.chunk_bytes,
               .wants_huge_pages = options.wants_huge_pages}) {
  size_t place = 0;
  for (size_t i = 0; i < plan_.sections.size(); ++i) {
    const size_t num_pieces = plan_.sections[i].num_chunks(plan_.chunk_bytes);
    std::vector<size_t>& list = plan_.sections[i].is_resident ? stays_ : turns_;
    sections_.push_back(
        {.first_place = place, .num_pieces = num_pieces, .num_missing = num_pieces, .turn = list.size()});
    if (num_pieces > 0) list.push_back(i);
    place += num_pieces;
  }
  for (size_t chunk = memory_.num_chunks(); chunk-- > 0;) free_chunks_.push_back(chunk);
  for (int i = 0; i < options.num_readers; ++i) {
    readers_.emplace_back([this](const std::stop_token& stop) { read_pieces(stop); });
  }
  std::unique_lock lock(mutex_);
  for (const size_t section : stays_) wait_for(lock, sections_[section]);
}

const std::byte* LayerStream::place_of(uint64_t offset) const {
  const auto after = std::ranges::upper_bound(plan_.sections, offset, {}, &StreamPlan::Section::first);
  const auto index = static_cast<size_t>(after - plan_.sections.begin()) - 1;
  return memory_.place(sections_[index].first_place) + (offset - plan_.sections[index].first_read());
}

void LayerStream::acquire(int layer) {
  const auto index = static_cast<size_t>(layer);
  if (plan_.sections[index].is_resident) return;
  Section& section = sections_[index];
  std::unique_lock lock(mutex_);
  if (!error_.empty() || section.turn != using_turn_) begin_again(lock, section.turn);
  ++reads_.num_acquired;
  if (section.num_missing == 0) return;
  ++reads_.num_waited;
  const Clock::time_point begin = Clock::now();
  wait_for(lock, section);
  reads_.wait_seconds += std::chrono::duration<double>(Clock::now() - begin).count();
}

void LayerStream::release(int layer) {
  const auto index = static_cast<size_t>(layer);
  if (plan_.sections[index].is_resident) return;
  {
    const std::lock_guard lock(mutex_);
    CHECK(sections_[index].turn == using_turn_);
    empty(sections_[index]);
    using_turn_ = (using_turn_ + 1) % turns_.size();
  }
  work_.notify_all();
}

WeightReads LayerStream::reads() const {
  const std::lock_guard lock(mutex_);
  return reads_;
}

void LayerStream::empty(Section& section) {
  free_chunks_.insert(free_chunks_.end(), section.chunks.begin(), section.chunks.end());
  section.chunks.clear();
  section.num_begun = 0;
  section.num_missing = section.num_pieces;
}

// Throws what the readers met, or that nothing arrives.
void LayerStream::wait_for(std::unique_lock<std::mutex>& lock, Section& section) {
  while (section.num_missing > 0 && error_.empty()) {
    const uint64_t before = num_arrived_;
    if (arrived_.wait_for(lock, patience_, [&] { return num_arrived_ != before || !error_.empty(); })) continue;
    error_ = fmt::format("weights that a step needs were not read within {} ms: the disk does not answer",
                         patience_.count());
  }
  if (!error_.empty()) throw Error(ErrorCode::kIo, error_);
}

// A step failed, or ended early: the next one begins with the layer of this turn.
void LayerStream::begin_again(std::unique_lock<std::mutex>& lock, size_t turn) {
  if (error_.empty()) error_ = "a step ended early";  // stops the readers
  if (!arrived_.wait_for(lock, patience_, [&] { return num_reading_ == 0; })) throw Error(ErrorCode::kIo, error_);
  for (const size_t section : turns_) empty(sections_[section]);
  reading_turn_ = using_turn_ = turn;
  error_.clear();
  work_.notify_all();
}

bool LayerStream::has_work() const {
  if (!error_.empty() || free_chunks_.empty()) return false;
  if (num_loaded_ < stays_.size()) return true;
  // Its last use may not be over.
  return !turns_.empty() && sections_[turns_[reading_turn_]].num_begun < sections_[turns_[reading_turn_]].num_pieces;
}

LayerStream::Piece LayerStream::take_piece() {
  const bool loads = num_loaded_ < stays_.size();
  const size_t index = loads ? stays_[num_loaded_] : turns_[reading_turn_];
  Section& section = sections_[index];
  const Piece piece{.section = index, .index = section.num_begun++, .chunk = free_chunks_.back()};
  free_chunks_.pop_back();
  section.chunks.push_back(piece.chunk);
  if (section.num_begun < section.num_pieces) return piece;
  if (loads) {
    ++num_loaded_;
  } else {
    reading_turn_ = (reading_turn_ + 1) % turns_.size();
  }
  return piece;
}

void LayerStream::read_pieces(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (work_.wait(lock, stop, [&] { return has_work(); })) {
    const Piece piece = take_piece();
    ++num_reading_;
    lock.unlock();
    std::string error;
    try {
      read(piece);
    } catch (const std::exception& failure) {
      error = failure.what();
    }
    lock.lock();
    --num_reading_;
    ++num_arrived_;
    if (error.empty()) {
      --sections_[piece.section].num_missing;
    } else if (error_.empty()) {
      error_ = std::move(error);
    }
    arrived_.notify_all();
  }
}

void LayerStream::read(const Piece& piece) {
  const StreamPlan::Section& section = plan_.sections[piece.section];
  const size_t place = sections_[piece.section].first_place + piece.index;
  memory_.move(piece.chunk, place);
  const uint64_t first = section.first_read() + piece.index * plan_.chunk_bytes;
  const size_t count = std::min<uint64_t>(plan_.chunk_bytes, section.last_read() - first);
  read_(first, {memory_.place(place), count});
  if (section.is_resident) return;
  const std::lock_guard lock(mutex_);
  reads_.bytes += count;
}

}  // namespace quire
