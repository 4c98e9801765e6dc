// Drafts by an EAGLE layer (arXiv 2401.15077, 2503.01840; architectures/eagle.cpp), which reads the target's hidden
// states: one row of its KV cache for every token that the target has computed. Beyond these it goes on from its own
// states, which are replaced when the target's come.
//
// Rows come after the target has computed them, and those of a cached prefix never come: a sequence begins wherever its
// states are without a gap up to the last one. A greedy request, or one whose drafts hold when they are typical, gets a
// dynamic tree (EAGLE-2, arXiv 2406.16858): at each depth the likeliest nodes are extended, and of all nodes the
// likeliest are proposed. Branches of a tree share full blocks of K and V and have copies of the last ones. Others get
// a chain that is drawn as the target will draw.
#pragma once

#include <deque>
#include <memory>
#include <unordered_map>

#include "drafting/draft_chooser.h"
#include "drafting/draft_sequences.h"
#include "drafting/drafter.h"
#include "drafting/likely_tree.h"
#include "drafting/speculation_options.h"
#include "models/loading/part_checkpoint.h"
#include "models/running/model_runner.h"

namespace quire {

class EagleDrafter : public Drafter {
 public:
  static constexpr HiddenUse kHiddenUse = HiddenUse::kAll;
  // Nodes of one depth that are extended.
  static constexpr int kBeam = 4;
  // States that wait for a sequence to be drafted for; of older ones it forgets the first.
  static constexpr int64_t kMaxWaitingRows = 1024;

  struct Options {
    SpeculationOptions speculation = {};
    std::vector<int> tapped_layers = {};  // EAGLE-3
  };
  // `runner`: of the layer, which `part` describes; a step has room for kBeam rows of every sequence, all of them with
  // logits and hidden states.
  EagleDrafter(std::shared_ptr<const PartCheckpoint> part, std::unique_ptr<ModelRunner> runner,
               DraftVocabulary vocabulary, const Options& options);

  size_t memory_bytes() const override;
  HiddenUse hidden_use() const override { return kHiddenUse; }
  std::vector<int> tapped_layers() const override { return tapped_layers_; }
  void observe(std::span<const HiddenRows> rows) override;
  void propose(std::span<DraftRequest> requests) override;
  void finish(uint64_t sequence, std::span<const int32_t> tokens, int64_t num_prompt_tokens,
              std::string_view salt) override;

 private:
  // The target's states of a sequence that are not computed yet, and the last one that is.
  struct States {
    int64_t first = 0;                         // position of the target's token that the first belongs to
    int64_t base = 0;                          // of the one that the KV cache begins with
    std::deque<std::vector<float>> rows = {};  // [state_size_] each

    int64_t end() const { return first + std::ssize(rows); }
    void forget_first(int64_t count);
  };
  // A node that is extended in a step.
  struct Branch {
    int32_t node = -1;       // -1: the root
    BlockTable blocks = {};  // with its ancestors' K and V
    bool is_given = false;   // its blocks are a child's now
    size_t row = 0;          // of the step's results
  };
  // A sequence in one call.
  struct Growing {
    DraftRequest* request = nullptr;
    DraftSequence* sequence = nullptr;
    Sampler sampler;
    bool is_tree = false;
    int max_drafts = 0;
    int64_t num_rows = 0;  // of the target's states
    int depth = 0;
    std::vector<LikelyNode> nodes = {};
    size_t first_new = 0;  // those of the step before the last come first
    std::vector<Branch> branches = {};
    std::vector<int32_t> spare = {};  // blocks of branches beside the sequence's own
  };

  int max_drafts_of(const DraftRequest& request, const States& states) const;
  void propose_together(std::span<DraftRequest*> requests);
  void catch_up(std::span<DraftRequest*> requests);
  void append_states(const DraftRequest& request, DraftSequence& sequence, States& states, int64_t count, bool is_last);
  // The children of every branch, from the results of the last step.
  void add_children(std::span<const float> logits);
  // Puts the nodes to extend into a step; false when there are none.
  bool step();
  static std::vector<int32_t> nodes_to_extend(const Growing& growing);
  // Nothing when the pool is full.
  std::optional<BlockTable> blocks_of_child(Growing& growing, Branch& parent);
  void finish_drafts(Growing& growing);

  std::shared_ptr<const PartCheckpoint> part_;
  std::unique_ptr<ModelRunner> runner_;
  std::vector<int> tapped_layers_;
  int64_t state_size_;  // floats of the target's state of a token
  bool draws_trees_;
  bool is_typical_;
  DraftChooser chooser_;
  DraftSequences sequences_;
  std::unordered_map<uint64_t, States> states_;
  // Of one call:
  Batch batch_;
  std::vector<Growing> growing_;
};

}  // namespace quire
