// The log probabilities of a prompt's own tokens, each with alternatives; in the first event. A row without a usable
// number fails the request.
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
  std::vector<SampledToken> scores_;       // by prompt token; before the first there is nothing
  std::atomic<bool> has_bad_row_ = false;  // without a usable number
  int64_t first_ = 1;                      // token that the first piece scores
  int64_t num_scored_ = 1;                 // rows of those below come a second time after a preemption
};

}  // namespace quire
