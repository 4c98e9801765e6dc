// What a request wants of the rows that the model computes for it: generated tokens, scores of its prompt, an
// embedding.
//
// One object per choice and thing wanted. When a step has finished, the engine thread asks how many pieces its rows
// make, pool threads take the pieces in, several at a time, and the engine thread publishes what came of them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "decoding/sampler.h"
#include "engine/request.h"

namespace quire {

// What a step computed for a sequence: the rows that were wanted, of consecutive positions.
struct Rows {
  int64_t first_position = 0;  // of the token that the first row belongs to
  int64_t num_rows = 0;
  bool samples = false;                  // the rows end with the sequence's last token and its drafts
  std::span<const int32_t> drafts = {};  // guesses whose rows are the last ones
  std::span<const float> logits = {};  // [num_rows, vocab_size]; empty when the device chose tokens, or none are wanted
  std::span<const int32_t> chosen = {};  // [num_rows] by the device; -1 where it could not
  std::span<const float> hidden = {};    // [num_rows, hidden_size] when hidden states are wanted

  std::span<const float> logits_of(int64_t row) const { return part_of(logits, row); }
  std::span<const float> hidden_of(int64_t row) const { return part_of(hidden, row); }

 private:
  std::span<const float> part_of(std::span<const float> all, int64_t row) const {
    const size_t width = all.size() / static_cast<size_t>(num_rows);
    return all.subspan(static_cast<size_t>(row) * width, width);
  }
};

// What a step brought for a choice.
struct Update {
  std::vector<int32_t> tokens;      // for its sequence
  std::vector<OutputEvent> events;  // for its reader; the last may finish the choice

  void clear() {
    tokens.clear();
    events.clear();
  }
};

class Output {
 public:
  virtual ~Output() = default;

  // How the model runner may choose the token `num_ahead` after the next one; nothing when logits are wanted.
  virtual std::optional<SamplingRow> device_sampling(int64_t /*num_ahead*/) const { return std::nullopt; }

  // Engine thread: how many pieces of work these rows are; makes room for what they give.
  virtual int64_t num_pieces(const Rows& rows) = 0;
  // Any thread, with its scratch; pieces of the same rows at the same time. Must not throw.
  virtual void consume(const Rows& rows, int64_t piece, SamplerScratch& scratch) = 0;
  // Engine thread, when all pieces are done.
  virtual void publish(const Rows& rows, Update& update) = 0;
};

}  // namespace quire
