// What one step of the engine does: who computes which tokens, and what is moved before. Plain data, made by the
// scheduler, carried out by an executor (step_loop.h).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/cost_model.h"
#include "engine/sequence.h"

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
  // To be carried out before the step, in order.
  struct Move {
    enum class Kind : uint8_t { kCopy, kSwapOut, kSwapIn } kind;
    int32_t from = 0;  // a block; of kSwapIn a swap slot
    int32_t to = 0;    // a block; of kSwapOut a swap slot
  };
  std::vector<Item> items;
  std::vector<Move> moves;
  StepShape shape;
};

// What an item adds to a step; sign -1: takes away again.
void add_to_shape(StepShape& shape, const StepPlan::Item& item, int sign = 1);

}  // namespace quire
