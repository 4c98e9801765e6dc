// The plan of one step: which sequences compute which tokens, and which blocks are moved before. Plain data; the
// scheduler makes it, an executor executes it (step_loop.h).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/cost_model.h"
#include "engine/sequence.h"
#include "models/kv_layout.h"

namespace quire {

struct StepPlan {
  struct Item {
    Sequence* sequence = nullptr;
    int64_t first_position = 0;  // of the tokens to compute; equals the number of computed tokens
    int64_t num_tokens = 0;      // tokens to compute: tokens of the sequence, then num_drafts of sequence->drafts
    int64_t num_drafts = 0;      // 0 unless `samples`
    int64_t num_on_trunk = 0;    // drafts that follow one another from the first; the others stand on kv.branches
    // The item includes the sequence's last token: its logits give the next token, and those of each draft one more.
    bool samples = false;
    int64_t num_restarts = 0;  // sequence->num_restarts when this was planned

    // The number of tokens to compute for the sequence's own blocks, at consecutive positions.
    int64_t num_positions() const { return num_tokens - num_drafts + num_on_trunk; }
  };
  // A move of a block before the step, in order. Marks ascend in this order; the executor reports by them which moves
  // are complete (Executor::completed_moves).
  struct Move {
    KvMove blocks;
    uint64_t mark = 0;

    // Whether the block moves between tiers.
    bool is_swap() const { return blocks.from.tier != blocks.to.tier; }
  };
  std::vector<Item> items;
  std::vector<Move> moves;
  StepShape shape;
};

// Adds an item to the shape of a step; with sign -1 removes it.
void add_to_shape(StepShape& shape, const StepPlan::Item& item, int sign = 1);

}  // namespace quire
