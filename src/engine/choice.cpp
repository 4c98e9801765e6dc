#include "engine/choice.h"

#include <algorithm>
#include <utility>

#include "base/random.h"
#include "engine/outputs/beam_candidates.h"
#include "engine/outputs/embedding.h"
#include "engine/outputs/generated_tokens.h"
#include "engine/outputs/prompt_scores.h"

namespace quire {
namespace {

// The first choice has the request's seed itself.
uint64_t seed_of(uint64_t request_seed, int choice) {
  return choice == 0 ? request_seed : philox(request_seed, static_cast<uint64_t>(choice));
}

BeamSearch::Limits limits_of(const std::shared_ptr<const GenerateRequest>& request, int64_t max_length) {
  return {.max_tokens = max_length - static_cast<int64_t>(request->prompt.size()),
          .num_alternatives = std::max(request->sampling.num_logprobs, 0),
          .is_stop = [request](int32_t token) { return is_stop(*request, token); }};
}

}  // namespace

std::unique_ptr<Choice> make_choice(std::shared_ptr<const GenerateRequest> request, uint64_t id, uint64_t seed,
                                    int64_t max_length) {
  const GenerateRequest& asked = *request;
  auto choice = std::make_unique<Choice>();
  choice->seed = seed;
  if (asked.beam.width > 0) {
    choice->beams = std::make_shared<BeamGroup>(BeamGroup{
        .search = BeamSearch(asked.beam, limits_of(request, max_length)), .beams = {choice.get()}, .free_ids = {}});
    for (int beam = 1; beam < asked.beam.width; ++beam) {
      choice->beams->free_ids.push_back(id + static_cast<uint64_t>(beam));
    }
    choice->outputs.push_back(std::make_unique<BeamCandidates>(choice->beams->search.num_candidates()));
  } else if (asked.pooling != Pooling::kNone) {
    choice->outputs.push_back(std::make_unique<PromptEmbedding>(asked.pooling));
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
  sequence.num_choices = std::max(asked.num_choices, asked.beam.width);
  sequence.is_beam = asked.beam.width > 0;
  sequence.needs_all_rows =
      asked.num_prompt_logprobs >= 0 || asked.pooling == Pooling::kMean || asked.pooling == Pooling::kCls;
  sequence.shares_cache = asked.shares_cache;
  sequence.priority = asked.priority;
  sequence.tenant = asked.tenant;
  sequence.cache_salt = asked.cache_salt;
  choice->request = std::move(request);
  return choice;
}

std::unique_ptr<Choice> make_beam(const Choice& parent, uint64_t id) {
  auto beam = std::make_unique<Choice>();
  beam->sequence.id = id;
  beam->request = parent.request;
  beam->stream = parent.stream;
  beam->seed = parent.seed;
  beam->outputs.push_back(std::make_unique<BeamCandidates>(parent.beams->search.num_candidates()));
  beam->beams = parent.beams;
  beam->is_queued = false;
  beam->timing = parent.timing;
  return beam;
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
