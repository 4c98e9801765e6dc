// Answers with the likeliest of a prompt's choices: those whose tokens have the greatest log probability together.
#pragma once

#include <memory>

#include "server/apis/answer_writer.h"

namespace quire {

// Takes `num_made` choices of each prompt, with their tokens, and gives the best `num_wanted` to `to` when all have
// ended: the best first, of equals the first.
std::shared_ptr<AnswerWriter> best_of(std::shared_ptr<AnswerWriter> to, int num_prompts, int num_made, int num_wanted);

}  // namespace quire
