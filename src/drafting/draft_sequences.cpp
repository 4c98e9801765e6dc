#include "drafting/draft_sequences.h"

#include <algorithm>
#include <numeric>

namespace quire {

void DraftSequence::roll_back(std::span<const int32_t> tokens) {
  const int64_t last = static_cast<int64_t>(tokens.size()) - 1;
  for (const int32_t guess : guesses) {
    if (num_computed >= last || guess != tokens[static_cast<size_t>(num_computed)]) break;
    ++num_computed;
  }
  num_computed = std::min(num_computed, last);
  guesses.clear();
}

DraftSequences::DraftSequences(int64_t num_blocks) : free_(static_cast<size_t>(num_blocks)) {
  std::iota(free_.rbegin(), free_.rend(), 0);
}

DraftSequence& DraftSequences::use(uint64_t sequence) {
  DraftSequence& found = sequences_[sequence];
  found.last_turn = turn_;
  return found;
}

bool DraftSequences::reserve(DraftSequence& sequence, int64_t num_positions) {
  const auto wanted = static_cast<size_t>(blocks_for(num_positions));
  while (sequence.blocks.size() < wanted) {
    const std::optional<int32_t> block = take_spare();
    if (!block) return false;
    sequence.blocks.push_back(*block);
  }
  return true;
}

std::optional<int32_t> DraftSequences::take_spare() {
  if (free_.empty() && !evict_one()) return std::nullopt;
  const int32_t block = free_.back();
  free_.pop_back();
  return block;
}

void DraftSequences::give_back(std::span<const int32_t> blocks) {
  free_.insert(free_.end(), blocks.begin(), blocks.end());
}

void DraftSequences::drop(uint64_t sequence) {
  const auto found = sequences_.find(sequence);
  if (found == sequences_.end()) return;
  release(found->second);
  sequences_.erase(found);
}

void DraftSequences::release(DraftSequence& sequence) {
  free_.insert(free_.end(), sequence.blocks.rbegin(), sequence.blocks.rend());
  sequence.blocks.clear();
  sequence.num_computed = 0;
  sequence.guesses.clear();
}

bool DraftSequences::evict_one() {
  DraftSequence* oldest = nullptr;
  for (auto& [id, sequence] : sequences_) {
    if (sequence.last_turn == turn_ || sequence.blocks.empty()) continue;
    if (oldest == nullptr || sequence.last_turn < oldest->last_turn) oldest = &sequence;
  }
  if (oldest == nullptr) return false;
  release(*oldest);
  return true;
}

}  // namespace quire
