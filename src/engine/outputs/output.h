// An output that a request wants from the rows the model computes: generated tokens, scores of the prompt, or an
// embedding.
//
// A choice has one object for each output. When a step has finished, the engine thread asks into how many pieces of
// work the rows divide, pool threads consume the pieces in parallel, and the engine thread publishes the results. While
// a device computes the rows, the outputs may prepare for them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "decoding/sampler.h"
#include "engine/request.h"

namespace quire {

// The wanted rows that a step computed for a sequence, at consecutive positions; those of drafts stand as deep as they
// are in their tree.
struct Rows {
  int64_t first_position = 0;  // the position of the first row's token
  int64_t num_rows = 0;
  bool samples = false;                         // the rows end with the sequence's last token and its drafts
  std::span<const int32_t> drafts = {};         // the tokens of the last drafts.size() rows
  std::span<const int32_t> draft_parents = {};  // as Drafts::parents
  std::span<const float> logits = {};    // [num_rows, vocab_size]; empty when the device chose tokens or none is wanted
  std::span<const int32_t> chosen = {};  // [num_rows] tokens chosen by the device; -1: NaN or infinity in the logits
  std::span<const float> hidden = {};    // [num_rows, hidden_size] when hidden states are wanted
  const TypicalAcceptance* typical = nullptr;  // drafts hold by this rule; null: when they are the token chosen anyway

  std::span<const float> logits_of(int64_t row) const { return part_of(logits, row); }
  std::span<const float> hidden_of(int64_t row) const { return part_of(hidden, row); }

 private:
  std::span<const float> part_of(std::span<const float> all, int64_t row) const {
    const size_t width = all.size() / static_cast<size_t>(num_rows);
    return all.subspan(static_cast<size_t>(row) * width, width);
  }
};

// What a step produced for a choice.
struct Update {
  std::vector<int32_t> tokens;                // to append to its sequence
  std::vector<OutputEvent> events;            // to send to its reader; the last may finish the choice
  std::vector<TokenLogprob> candidates = {};  // of a beam: the likeliest tokens that may follow, descending

  void clear() {
    tokens.clear();
    events.clear();
    candidates.clear();
  }
};

class Output {
 public:
  virtual ~Output() = default;

  // How the model runner may choose the token `num_ahead` positions after the next one; nothing when the host needs
  // the logits.
  virtual std::optional<SamplingRow> device_sampling(int64_t /*num_ahead*/) const { return std::nullopt; }

  // What chooses the sequence's tokens; null when none are generated.
  virtual const Sampler* sampler() const { return nullptr; }
  // What its tokens may be; null: anything, or nothing is known before the first one. Engine thread, between steps.
  virtual TokenConstraint* constraint() { return nullptr; }

  // Any thread, before consume() of rows with Rows::samples: work that does not need them. Must not throw.
  virtual void prepare(int64_t /*vocab_size*/) {}

  // Engine thread: the number of pieces of work in these rows. Allocates the memory for their results.
  virtual int64_t num_pieces(const Rows& rows) = 0;
  // Any thread, with the thread's scratch; several pieces of the same rows may run at the same time. Must not throw.
  virtual void consume(const Rows& rows, int64_t piece, SamplerScratch& scratch) = 0;
  // Engine thread, when all pieces are done. Adds the results to `update`.
  virtual void publish(const Rows& rows, Update& update) = 0;
};

}  // namespace quire
