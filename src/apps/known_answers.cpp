#include "apps/known_answers.h"

#include <algorithm>

#include "base/random.h"

namespace quire {

void KnownAnswers::propose(std::span<DraftRequest> requests) {
  for (DraftRequest& request : requests) propose(request);
}

void KnownAnswers::finish(uint64_t sequence, std::span<const int32_t>, int64_t, std::string_view) {
  running_.erase(sequence);
}

void KnownAnswers::propose(DraftRequest& request) {
  const auto num_prompt = static_cast<size_t>(request.num_prompt_tokens);
  const auto [running, is_new] = running_.try_emplace(request.sequence, nullptr);
  if (is_new) {
    const auto prompt = request.tokens.first(num_prompt);
    const auto known = answers_->find({prompt.begin(), prompt.end()});
    if (known != answers_->end()) running->second = &known->second;
  }
  if (running->second == nullptr) return;
  const std::vector<int32_t>& answer = *running->second;
  const size_t begin = request.tokens.size() - num_prompt;
  const size_t end = std::min(answer.size(), begin + static_cast<size_t>(request.max_drafts));
  for (size_t at = begin; at < end; ++at) {
    const bool is_right = uniform(request.sequence, at) < probability_;
    request.drafts->tokens.push_back(is_right ? answer[at] : static_cast<int32_t>((answer[at] + 1) % vocab_size_));
  }
}

}  // namespace quire
