// The generated tokens: sampled from a step's logits or chosen by the device, as far as drafts are right and as the
// request's constraint allows.
#pragma once

#include <memory>
#include <vector>

#include "decoding/sampler.h"
#include "engine/outputs/output.h"

namespace quire {

// Whether the token ends an answer to the request.
bool is_stop(const GenerateRequest& request, int32_t token);

class GeneratedTokens : public Output {
 public:
  // `max_length` of the sequence includes the prompt. A request whose prompt is that long gets no token, only the event
  // that ends it when the prompt has been computed.
  GeneratedTokens(std::shared_ptr<const GenerateRequest> request, uint64_t seed, int64_t max_length);

  std::optional<SamplingRow> device_sampling(int64_t num_ahead) const override;
  const Sampler* sampler() const override { return &sampler_; }
  TokenConstraint* constraint() override { return constraint_.get(); }
  void prepare(int64_t vocab_size) override;
  int64_t num_pieces(const Rows& rows) override { return rows.samples ? 1 : 0; }
  void consume(const Rows& rows, int64_t piece, SamplerScratch& scratch) override;
  void publish(const Rows& rows, Update& update) override;

 private:
  bool wants_tokens() const { return max_length_ > static_cast<int64_t>(request_->prompt.size()); }
  template <typename Call>
  void end_if_it_throws(const Call& call);
  void fail(std::string why);
  void find_allowed(int64_t vocab_size);
  void choose_all(const Rows& rows, SamplerScratch& scratch);
  void fail_without_token(const Rows& rows, int64_t row);
  FinishReason finish_after(int32_t id, int64_t length);
  std::optional<SampledToken> choose(const Rows& rows, int64_t row, SamplerScratch& scratch);
  std::optional<int32_t> typical_draft(const Rows& rows, int64_t row, SamplerScratch& scratch) const;

  const std::shared_ptr<const GenerateRequest> request_;
  const int64_t max_length_;
  Sampler sampler_;
  std::unique_ptr<TokenConstraint> constraint_;  // null until the first token is chosen
  std::vector<uint64_t> mask_;                   // of the next token; empty: not known yet
  std::vector<SampledToken> tokens_;             // chosen in the present step
  FinishReason finish_ = FinishReason::kNone;
  bool ends_with_stop_token_ = false;
  std::string error_;
};

}  // namespace quire
