// The log probabilities of the prompt's tokens, each with alternatives, published in the first event. NaN or infinity
// in a row fails the request.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "engine/outputs/output.h"

namespace quire {

class PromptScores : public Output {
 public:
  explicit PromptScores(std::shared_ptr<const GenerateRequest> request);

  int64_t num_pieces(const Rows& rows) override;
  void consume(const Rows& rows, int64_t piece, SamplerScratch& scratch) override;
  void publish(const Rows& rows, Update& update) override;

 private:
  const std::shared_ptr<const GenerateRequest> request_;
  std::vector<SampledToken> scores_;       // by prompt token; the first has no score
  std::atomic<bool> has_bad_row_ = false;  // a row had NaN or infinity
  int64_t first_ = 1;                      // the token that the first piece scores
  int64_t num_scored_ = 1;                 // tokens below this one have their scores; a preemption computes rows again
};

}  // namespace quire
