// Guesses the tokens that follow, so that the target model verifies several tokens in one step (speculative decoding:
// Leviathan et al., arXiv 2211.17192; Chen et al., arXiv 2302.01318). A guess changes the speed only: the target model
// chooses every token as it would without one.
//
// A drafter is one file and a row in drafters.cpp. The engine calls it on its thread, between steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "decoding/sampler.h"
#include "drafting/drafts.h"

namespace quire {

// A sequence that wants drafts, as a drafter sees it.
struct DraftRequest {
  uint64_t sequence = 0;            // its id; every choice of a request has its own
  std::span<const int32_t> tokens;  // known: the prompt, then the generated ones
  int64_t num_prompt_tokens = 0;
  int max_drafts = 0;                // the most tokens wanted, at least 1
  int min_drafts = 0;                // fewer are not worth a step: propose none instead
  std::string_view salt = {};        // what is remembered of a sequence serves only those with an equal salt
  const Sampler* sampler = nullptr;  // as the target will use it for the next token
  Drafts* drafts = nullptr;          // the result; empty when the call begins
};

// What became of the drafts that a drafter proposed for a sequence last. Of a tree the engine may have left out nodes;
// what follows is about the tree that a step verified.
struct VerifiedDrafts {
  uint64_t sequence = 0;
  int64_t num_verified = 0;  // at least 1; of a chain, and with is_all_or_none(), the first ones of the proposal
  int64_t num_accepted = 0;  // of these; the accepted nodes are a path from the root
  // The target's likeliest token after the root and after each verified node, [1 + num_verified]; empty unless
  // reads_likeliest().
  std::span<const int32_t> likeliest = {};
};

// Hidden states that the target model computed for tokens of a sequence that are known now.
struct HiddenRows {
  uint64_t sequence = 0;
  int64_t first_position = 0;  // of the first row's token; rows stand at consecutive positions
  int64_t num_rows = 0;
  // [num_rows, hidden_size] after the final norm; with tapped layers [num_rows, num_taps, hidden_size], each the
  // residual stream before that layer.
  std::span<const float> hidden;
};

enum class HiddenUse : uint8_t {
  kNone,
  kLast,  // of the token before the next one only
  kAll,   // of every token, those of the prompt included
};

class Drafter {
 public:
  virtual ~Drafter() = default;

  // Proposes drafts for sequences of one batch. May leave any of them without drafts.
  virtual void propose(std::span<DraftRequest> requests) = 0;
  // A step has verified drafts that it proposed.
  virtual void settle(const VerifiedDrafts& /*verified*/) {}
  // The sequence has ended with these tokens; its id will not come again.
  virtual void finish(uint64_t /*sequence*/, std::span<const int32_t> /*tokens*/, int64_t /*num_prompt_tokens*/,
                      std::string_view /*salt*/) {}
  // What it remembers, without a model's part.
  virtual size_t memory_bytes() const { return 0; }

  // A step verifies all drafts of a proposal or none (or the first ones, where a step has no room for more): each is
  // worth what the others make of it.
  virtual bool is_all_or_none() const { return false; }

  // ---- what a drafter reads of the target model ----
  virtual bool reads_likeliest() const { return false; }
  virtual HiddenUse hidden_use() const { return HiddenUse::kNone; }
  // The target's layers whose input is wanted instead of the final hidden state, ascending; empty: the final one.
  virtual std::vector<int> tapped_layers() const { return {}; }
  // Called when a step has settled, before the next propose(). After a preemption rows of known positions come again,
  // and those of a cached prefix never come.
  virtual void observe(std::span<const HiddenRows> /*rows*/) {}
};

}  // namespace quire
