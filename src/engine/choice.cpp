#include "engine/choice.h"

#include <utility>

#include "base/random.h"
#include "engine/outputs/embedding.h"
#include "engine/outputs/generated_tokens.h"
#include "engine/outputs/prompt_scores.h"

namespace quire {
namespace {

// The first choice has the request's seed itself.
uint64_t seed_of(uint64_t request_seed, int choice) {
  return choice == 0 ? request_seed : philox(request_seed, static_cast<uint64_t>(choice));
}

}  // namespace

std::unique_ptr<Choice> make_choice(std::shared_ptr<const GenerateRequest> request, uint64_t id, uint64_t seed,
                                    int64_t max_length) {
  const GenerateRequest& asked = *request;
  auto choice = std::make_unique<Choice>();
  choice->seed = seed;
  if (asked.pooling != Pooling::kNone) {
    choice->outputs.push_back(std::make_unique<Embedding>(asked.pooling));
  } else {
    choice->outputs.push_back(
        std::make_unique<GeneratedTokens>(request, seed_of(seed, asked.first_choice), max_length));
    if (asked.num_prompt_logprobs >= 0) choice->outputs.push_back(std::make_unique<PromptScores>(request));
  }
  Sequence& sequence = choice->sequence;
  sequence.id = id;
  sequence.tokens = asked.prompt;
  sequence.num_prompt_tokens = static_cast<int64_t>(asked.prompt.size());
  sequence.max_tokens = max_length;
  sequence.num_choices = asked.num_choices;
  sequence.needs_all_rows =
      asked.num_prompt_logprobs >= 0 || asked.pooling == Pooling::kMean || asked.pooling == Pooling::kCls;
  sequence.shares_cache = asked.shares_cache;
  sequence.priority = asked.priority;
  sequence.tenant = asked.tenant;
  sequence.cache_salt = asked.cache_salt;
  choice->request = std::move(request);
  return choice;
}

std::unique_ptr<Choice> make_sibling(const Choice& first, int index) {
  auto sibling = std::make_unique<Choice>();
  sibling->sequence.id = first.sequence.id + static_cast<uint64_t>(index);
  sibling->sequence.num_cached_tokens = first.sequence.num_cached_tokens;
  sibling->request = first.request;
  sibling->stream = first.stream;
  sibling->seed = first.seed;
  const uint64_t seed = seed_of(first.seed, first.request->first_choice + index);
  sibling->outputs.push_back(std::make_unique<GeneratedTokens>(first.request, seed, first.sequence.max_tokens));
  sibling->index = index;
  sibling->is_queued = false;
  sibling->hidden_use = first.hidden_use;
  sibling->timing = first.timing;
  return sibling;
}

}  // namespace quire
