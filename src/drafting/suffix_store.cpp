#include "drafting/suffix_store.h"

#include <algorithm>

namespace quire {

int64_t SuffixStore::charge(const Generation& generation) {
  const auto salt_tokens = static_cast<int64_t>(generation.salt.size() / sizeof(int32_t));
  return generation.automaton.num_tokens() + kTokensForNone + salt_tokens;
}

void SuffixStore::add(std::string_view salt, std::span<const int32_t> answer) {
  const int64_t generation_tokens = max_tokens_ / kNumGenerations;
  answer = answer.last(std::min(answer.size(), static_cast<size_t>(std::max<int64_t>(0, generation_tokens))));
  if (answer.empty()) return;
  std::vector<uint64_t>& ages = ages_[std::string(salt)];
  const auto num_tokens = static_cast<int64_t>(answer.size());
  if (ages.empty() || generations_.at(ages.back()).automaton.num_tokens() + num_tokens > generation_tokens) {
    ages.push_back(next_age_++);
    const Generation fresh = {.salt = std::string(salt), .automaton = SuffixAutomaton(max_context_)};
    charged_ += charge(fresh);
    generations_.emplace(ages.back(), fresh);
  }
  SuffixAutomaton& automaton = generations_.at(ages.back()).automaton;
  automaton.begin_text();
  for (const int32_t token : answer) automaton.append(token);
  charged_ += num_tokens;
  while (charged_ > max_tokens_) {
    const Generation& oldest = generations_.begin()->second;
    charged_ -= charge(oldest);
    const auto owner = ages_.find(oldest.salt);
    owner->second.erase(owner->second.begin());
    if (owner->second.empty()) ages_.erase(owner);
    generations_.erase(generations_.begin());
  }
}

std::vector<const SuffixAutomaton*> SuffixStore::find(std::string_view salt) const {
  std::vector<const SuffixAutomaton*> found;
  const auto ages = ages_.find(std::string(salt));
  if (ages == ages_.end()) return found;
  for (const uint64_t age : ages->second) found.push_back(&generations_.at(age).automaton);
  return found;
}

int64_t SuffixStore::num_tokens() const {
  int64_t num_tokens = 0;
  for (const auto& [age, generation] : generations_) num_tokens += generation.automaton.num_tokens();
  return num_tokens;
}

size_t SuffixStore::memory_bytes() const {
  size_t bytes = 0;
  for (const auto& [age, generation] : generations_) {
    bytes += sizeof(generation) + generation.salt.capacity() + generation.automaton.memory_bytes();
  }
  return bytes;
}

}  // namespace quire
