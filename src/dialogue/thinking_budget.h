// A bound on what a model thinks before it answers: once so many tokens are spent, the mark that ends reasoning is all
// that may follow. Wraps the constraint of the answer, if there is one.
#pragma once

#include <memory>

#include "decoding/token_constraint.h"
#include "dialogue/reasoning.h"
#include "text/tokenizer.h"

namespace quire {

struct ThinkingBudget {
  int64_t max_tokens = 0;  // of reasoning, its marks not counted
  bool is_open = false;    // the prompt has the begin mark
};

// `tokenizer` is copied; `format` is a row of reasoning_formats(); `eog_ids`: tokens that end a generation. `answer`
// may be null.
std::shared_ptr<const ConstraintSource> limit_thinking(const Tokenizer& tokenizer, const ReasoningFormat& format,
                                                       std::span<const int32_t> eog_ids, ThinkingBudget budget,
                                                       std::shared_ptr<const ConstraintSource> answer);

}  // namespace quire
