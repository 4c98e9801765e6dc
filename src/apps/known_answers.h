// A drafter for measurements: it knows the answers and guesses each token right with a given probability, so that any
// model, also one with random weights, shows what a drafter of that quality would bring.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "drafting/drafter.h"

namespace quire {

// Answers by prompt, filled in before the first draft. Engine thread only.
using AnswersByPrompt = std::map<std::vector<int32_t>, std::vector<int32_t>>;

class KnownAnswers : public Drafter {
 public:
  // A sequence whose answer is not known gets no drafts.
  KnownAnswers(std::shared_ptr<const AnswersByPrompt> answers, double probability, int64_t vocab_size)
      : answers_(std::move(answers)), probability_(probability), vocab_size_(vocab_size) {}

  void propose(std::span<DraftRequest> requests) override;
  void finish(uint64_t sequence, std::span<const int32_t> tokens, int64_t num_prompt_tokens,
              std::string_view salt) override;

 private:
  void propose(DraftRequest& request);

  const std::shared_ptr<const AnswersByPrompt> answers_;
  const double probability_;
  const int64_t vocab_size_;
  std::unordered_map<uint64_t, const std::vector<int32_t>*> running_;  // the answer of each sequence, or null
};

}  // namespace quire
