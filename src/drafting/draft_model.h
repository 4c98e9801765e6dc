// Speculative decoding with a small model of the same kind (Leviathan et al., arXiv 2211.17192): it generates the
// drafts, one token of every sequence in a step of its own.
//
// A draft is drawn as the target will draw: with the request's sampling parameters and the random number that the
// target uses for this token, so that models which agree about the distribution agree about the token. Tokens that the
// draft model has not computed yet, the prompt first of all, it computes a chunk at a time, so that no call takes much
// longer than a step of one chunk; a sequence gets drafts when nothing is missing.
#pragma once

#include <memory>

#include "drafting/draft_chooser.h"
#include "drafting/draft_sequences.h"
#include "drafting/drafter.h"
#include "models/running/model_runner.h"

namespace quire {

class DraftModel : public Drafter {
 public:
  // `runner`: of the draft model; its KV pool is the drafter's, its max_batch_tokens the chunk.
  DraftModel(std::unique_ptr<ModelRunner> runner, DraftVocabulary vocabulary, float min_probability);

  void propose(std::span<DraftRequest> requests) override;
  void finish(uint64_t sequence, std::span<const int32_t> tokens, int64_t num_prompt_tokens,
              std::string_view salt) override;

 private:
  // A sequence in one call.
  struct Drafting {
    DraftRequest* request = nullptr;
    DraftSequence* sequence = nullptr;
    Sampler sampler;
    int max_drafts = 0;
    bool goes_on = true;
  };
  // No more requests than the runner's sequences.
  void propose_together(std::span<DraftRequest*> requests);
  // Computes what is missing, at most a chunk in all. Those of `requests` that have caught up are appended to
  // drafting_, in the order of the batch's logit rows.
  void catch_up(std::span<DraftRequest*> requests);
  // The next draft of every sequence in drafting_, from the logits of the last step.
  void choose(std::span<const float> logits);
  // A step of the drafts that were chosen last; false when no sequence goes on.
  bool step();
  void append_tokens(const DraftRequest& request, DraftSequence& sequence, int64_t count);
  int max_drafts_of(const DraftRequest& request) const;

  std::unique_ptr<ModelRunner> runner_;
  DraftChooser chooser_;
  DraftSequences sequences_;
  // Of one call:
  Batch batch_;
  std::vector<Drafting> drafting_;
};

}  // namespace quire
