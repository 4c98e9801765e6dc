// One step's work: the tokens to run, where they stand in their sequences, and whose logits are wanted.
//
// Built by the engine each step, read by the model runner. Plain data; block ids are the engine's, the memory behind
// them is KvCache's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "models/kv_layout.h"

namespace quire {

// In Batch::token_ids: the token that the step started right before chose for its logit row of this index.
constexpr int32_t chosen_token(int64_t row) { return static_cast<int32_t>(-1 - row); }

struct Batch {
  struct Sequence {
    int64_t num_tokens = 0;      // query tokens of this step; > 1 in prefill
    int64_t first_position = 0;  // position of the first of them = tokens already in the cache
    // Of every KV group; a lone one counts for all. Each covers positions [0, first_position + num_tokens). Entries
    // before what the group's window shows are not read.
    std::span<const BlockTable> block_tables = {};
    // The sequence, later chunks of its prompt included, is longer than ModelInfo::rope_switch_length. What was
    // computed before it was does not count any more.
    bool is_long = false;
    // >= 0: a branch of that sequence, an earlier one of this batch, which may be a branch too. Its tokens follow the
    // other's token at first_position - 1, which is in this batch, and it sees what that one sees. block_tables then
    // begin with the block of first_position, and no other sequence has their blocks; the positions before
    // first_position in that block are copied there.
    int32_t branch_of = -1;

    bool is_branch() const { return branch_of >= 0; }
  };
  std::vector<int32_t> token_ids;  // of all sequences, one after the other; or chosen_token
  std::vector<Sequence> sequences;
  std::vector<int32_t> logit_rows;  // rows of token_ids whose logits are wanted, strictly ascending
  // How the token after each of logit_rows is chosen, when tokens are wanted and not the logits; empty: the logits.
  // Only for a runner that samples (ModelRunner::can_sample).
  std::vector<SamplingRow> sampling;
  // Rows whose final hidden states are wanted, strictly ascending. A row of logit_rows as well costs only a copy.
  std::vector<int32_t> hidden_rows;
  // Rows whose residual stream before RunnerOptions::tapped_layers is wanted, strictly ascending.
  std::vector<int32_t> tapped_rows;
  // For a model that reads hidden states (ModelInfo::hidden_input_size): those of every row, [token_ids.size(),
  // hidden_input_size], or [token_ids.size(), hidden_size] of its own. Else empty.
  std::vector<float> hidden_input;

  void clear() {
    token_ids.clear();
    sequences.clear();
    logit_rows.clear();
    sampling.clear();
    hidden_rows.clear();
    tapped_rows.clear();
    hidden_input.clear();
  }
};

}  // namespace quire
