// The embedding of a prompt: its final hidden states, pooled.
#pragma once

#include <vector>

#include "engine/outputs/output.h"

namespace quire {

class PromptEmbedding : public Output {
 public:
  explicit PromptEmbedding(Pooling pooling) : pooling_(pooling) {}

  int64_t num_pieces(const Rows& rows) override { return rows.num_rows > 0 ? 1 : 0; }
  void consume(const Rows& rows, int64_t piece, SamplerScratch& scratch) override;
  void publish(const Rows& rows, Update& update) override;

 private:
  const Pooling pooling_;
  std::vector<double> sum_;  // [hidden_size], over the rows so far
  int64_t num_summed_ = 0;   // rows in sum_
};

}  // namespace quire
