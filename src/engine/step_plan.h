// What one step of the engine does: who computes which tokens, and what is moved before. Plain data, made by the
// scheduler, carried out by an executor (step_loop.h).
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
    int64_t first_position = 0;  // of the tokens to compute = tokens that are computed already
    int64_t num_tokens = 0;      // the last num_drafts of them are sequence->drafts, what is before are its tokens
    int64_t num_drafts = 0;      // only where `samples`
    // The sequence's last token is among them: its logits give the next one, and those of each draft one more.
    bool samples = false;
    int64_t num_restarts = 0;  // the sequence's when this was planned
  };
  // To be carried out before the step, in order. Moves are numbered in this order by their marks, by which the executor
  // tells which of them are complete (Executor::completed_moves).
  struct Move {
    KvMove blocks;
    uint64_t mark = 0;

    // Whether it leaves the pool or comes back.
    bool is_swap() const { return blocks.from.tier != blocks.to.tier; }
  };
  std::vector<Item> items;
  std::vector<Move> moves;
  StepShape shape;
};

// What an item adds to a step; sign -1: takes away again.
void add_to_shape(StepShape& shape, const StepPlan::Item& item, int sign = 1);

}  // namespace quire
