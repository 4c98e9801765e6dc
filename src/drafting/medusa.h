// Drafts by Medusa heads (arXiv 2401.10774; architectures/medusa.cpp): from the final hidden state that gave the last
// known token, head i guesses the i + 1st token after it, each without knowing what the others guess.
//
// A request that is greedy, or whose drafts hold when they are typical, gets the tree of guesses that is likeliest by
// the product of the heads' probabilities. Others get a chain that is drawn as the target will draw.
#pragma once

#include <memory>
#include <unordered_map>

#include "drafting/draft_chooser.h"
#include "drafting/drafter.h"
#include "drafting/speculation_options.h"
#include "models/loading/part_checkpoint.h"
#include "models/running/model_runner.h"

namespace quire {

class MedusaDrafter : public Drafter {
 public:
  static constexpr HiddenUse kHiddenUse = HiddenUse::kLast;

  // `runner`: of the heads, which `part` describes; a step has room for a row of every sequence.
  MedusaDrafter(std::shared_ptr<const PartCheckpoint> part, std::unique_ptr<ModelRunner> runner,
                DraftVocabulary vocabulary, const SpeculationOptions& options);

  size_t memory_bytes() const override;
  HiddenUse hidden_use() const override { return kHiddenUse; }
  void observe(std::span<const HiddenRows> rows) override;
  void propose(std::span<DraftRequest> requests) override;
  void finish(uint64_t sequence, std::span<const int32_t> tokens, int64_t num_prompt_tokens,
              std::string_view salt) override;

 private:
  struct State {
    int64_t position = -1;
    std::vector<float> hidden;  // of the token there
  };

  void propose_together(std::span<DraftRequest*> requests);
  void propose_chains(std::span<DraftRequest*> requests, std::span<const float> logits);
  void propose_trees(std::span<DraftRequest*> requests, std::span<const float> logits);
  bool wants_tree(const DraftRequest& request) const;
  // Of head `head` for request `index` of `count`.
  std::span<const float> row_of(std::span<const float> logits, int64_t head, int64_t index, int64_t count) const;

  std::shared_ptr<const PartCheckpoint> part_;
  std::unique_ptr<ModelRunner> runner_;
  int64_t num_heads_;
  bool draws_trees_;
  bool is_typical_;
  DraftChooser chooser_;
  std::unordered_map<uint64_t, State> states_;
  Batch batch_;  // of one call
};

}  // namespace quire
