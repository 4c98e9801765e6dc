// Questions with one right answer: how many of them a model answers exactly, word for word and with its end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dialogue/text_processor.h"
#include "models/running/model_runner.h"

namespace quire {

struct ExactQuestion {
  std::vector<int32_t> ids;  // the prompt, and behind it the answer
  int64_t num_answer_tokens = 0;
};

// From lines of JSON with "messages" and "answer", as assets/demo/heldout.jsonl has them; lines without are skipped.
// At most `max_tokens` each: longer ones are left out. Throws Error: kIo, kCorrupt naming the line, kInvalidArgument
// for a file without questions.
std::vector<ExactQuestion> load_questions(const std::string& file, const TextProcessor& processor, int64_t max_tokens);

// The share of questions to which greedy decoding gives the answer, and then one of `end_ids`. The runner must allow as
// many rows of logits as an answer has tokens, and all of a question in one step.
double share_of_exact_answers(ModelRunner& runner, const std::vector<ExactQuestion>& questions,
                              const std::vector<int32_t>& end_ids);

}  // namespace quire
