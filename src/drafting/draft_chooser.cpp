#include "drafting/draft_chooser.h"

#include <utility>

#include "drafting/likely_tokens.h"

namespace quire {

DraftChooser::DraftChooser(DraftVocabulary vocabulary, float min_probability, int num_threads)
    : vocabulary_(std::move(vocabulary)), min_probability_(min_probability) {
  const auto size = static_cast<size_t>(vocabulary_.target_size());
  for (int i = 0; i < num_threads; ++i) {
    rooms_.push_back({SamplerScratch(vocabulary_.target_size()), std::vector<float>(size)});
  }
}

std::optional<int32_t> DraftChooser::draw(Sampler& sampler, std::span<const float> logits, int thread) {
  ThreadRoom& room = rooms_[static_cast<size_t>(thread)];
  const std::span<const float> row = vocabulary_.to_target(logits, room.logits);
  const std::optional<SampledToken> token = sampler.sample(row, room.sampling);
  if (!token || (min_probability_ > 0.0f && probability_of(row, token->id) < min_probability_)) return std::nullopt;
  return token->id;
}

void DraftChooser::find_likely(std::span<const float> logits, int count, std::vector<Candidate>& likely) const {
  // A padded matrix has rows behind those of its tokens.
  const auto num_tokens = static_cast<size_t>(vocabulary_.draft_size());
  collect_likely_tokens(logits.first(std::min(logits.size(), num_tokens)), count, likely);
  for (Candidate& token : likely) token.id = vocabulary_.to_target(token.id);
  std::erase_if(likely, [&](const Candidate& token) { return token.id < 0 || token.probability < min_probability_; });
}

}  // namespace quire
