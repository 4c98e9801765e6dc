// The generated tokens: sampled from a step's logits or chosen by the device, as far as drafts are right.
#pragma once

#include <memory>
#include <vector>

#include "decoding/sampler.h"
#include "engine/outputs/output.h"

namespace quire {

class GeneratedTokens : public Output {
 public:
  // `max_length` of the sequence includes the prompt. A request whose prompt is that long gets no token, only the event
  // that ends it when the prompt has been computed.
  GeneratedTokens(std::shared_ptr<const GenerateRequest> request, uint64_t seed, int64_t max_length);

  std::optional<SamplingRow> device_sampling(int64_t num_ahead) const override;
  const Sampler* sampler() const override { return &sampler_; }
  int64_t num_pieces(const Rows& rows) override { return rows.samples ? 1 : 0; }
  void consume(const Rows& rows, int64_t piece, SamplerScratch& scratch) override;
  void publish(const Rows& rows, Update& update) override;

 private:
  bool wants_tokens() const { return max_length_ > static_cast<int64_t>(request_->prompt.size()); }
  std::optional<SampledToken> choose(const Rows& rows, int64_t row, SamplerScratch& scratch);
  std::optional<int32_t> typical_draft(const Rows& rows, int64_t row, SamplerScratch& scratch) const;
  bool is_stop(int32_t token) const;

  const std::shared_ptr<const GenerateRequest> request_;
  const int64_t max_length_;
  Sampler sampler_;
  std::vector<SampledToken> tokens_;  // chosen in the present step
  FinishReason finish_ = FinishReason::kNone;
};

}  // namespace quire
