// Layers read from a file of packed weights while earlier ones are used: the memory of those that do not stay
// (StreamPlan) goes from layer to layer, in the order in which every step uses them. All sequences of a step share each
// read. While the head is computed and between steps the first layers of the next step are read.
//
// One thread acquires and releases. Threads of its own read, several pieces at a time, because a disk is faster so.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/movable_memory.h"
#include "models/layer_weights.h"
#include "models/planning/stream_plan.h"

namespace quire {

class LayerStream final : public LayerWeights {
 public:
  // Fills `to` with the file's bytes from `offset` on, both multiples of DirectFile::kAlignment. Throws Error.
  // Any thread.
  using Read = std::function<void(uint64_t offset, std::span<std::byte> to)>;
  struct Options {
    int num_readers = 4;
    bool wants_huge_pages = true;
    // So long nothing may arrive that a step waits for; then it fails.
    std::chrono::milliseconds patience{30'000};
  };
  // The layers that stay are in memory when it returns. Throws Error.
  LayerStream(StreamPlan plan, Read read, const Options& options);

  // Where a step finds the packed byte at this offset.
  const std::byte* place_of(uint64_t offset) const;
  void acquire(int layer) override;
  void release(int layer) override;
  // Any thread.
  WeightReads reads() const;

 private:
  struct Section {
    size_t first_place = 0;  // MovableMemory::place
    size_t num_pieces = 0;
    size_t num_begun = 0;             // pieces that are read or being read
    size_t num_missing = 0;           // pieces that are not yet there
    size_t turn = 0;                  // of turns_; not of one that stays
    std::vector<size_t> chunks = {};  // whose memory it has
  };
  struct Piece {
    size_t section = 0;
    size_t index = 0;
    size_t chunk = 0;
  };

  void read_pieces(const std::stop_token& stop);
  // With mutex_ held:
  bool has_work() const;
  Piece take_piece();
  void wait_for(std::unique_lock<std::mutex>& lock, Section& section);
  void begin_again(std::unique_lock<std::mutex>& lock, size_t turn);
  void empty(Section& section);
  // Without it:
  void read(const Piece& piece);

  const StreamPlan plan_;
  const Read read_;
  const std::chrono::milliseconds patience_;
  MovableMemory memory_;
  std::vector<Section> sections_;  // of plan_
  std::vector<size_t> stays_;      // sections
  std::vector<size_t> turns_;      // the other ones, in the order of their use

  mutable std::mutex mutex_;
  std::condition_variable_any work_;  // for readers
  std::condition_variable arrived_;   // a piece was read, or could not be
  std::vector<size_t> free_chunks_;
  size_t num_loaded_ = 0;    // of stays_: all their pieces are begun
  size_t reading_turn_ = 0;  // of turns_: whose pieces are begun next
  size_t using_turn_ = 0;    // of turns_: who is acquired next
  int num_reading_ = 0;      // pieces
  uint64_t num_arrived_ = 0;
  std::string error_;  // nothing more is read until a step begins again
  WeightReads reads_;
  std::vector<std::jthread> readers_;  // the last member: ended before what they work on
};

}  // namespace quire
