#include "drafting/suffix.h"

#include <algorithm>
#include <queue>
#include <unordered_map>

#include "drafting/draft_tree.h"
#include "drafting/suffix_automaton.h"
#include "drafting/suffix_store.h"

namespace quire {
namespace {

// Of a long prompt a proposal takes in this many tokens at most, in about a millisecond: other sequences wait.
constexpr size_t kTokensPerProposal = 4096;
// Alternatives that are looked at after a context.
constexpr size_t kMaxAlternatives = 16;

struct Growth {
  size_t max_drafts = 0;
  double min_probability = 0.0;
  size_t num_alternatives = 1;  // 1: a chain
};

struct Proposal {
  DraftTree tree;
  double expected = 0.0;  // accepted drafts: the sum of the nodes' probabilities
};

struct Branch {
  double probability = 0.0;  // of the path to the token
  int64_t order = 0;         // the branches that came before this one
  SuffixAutomaton::Context context;
  int32_t token = 0;
  int32_t parent = DraftTree::kRoot;

  bool operator<(const Branch& other) const {
    return probability < other.probability || (probability == other.probability && order > other.order);
  }
};

// What followed `context`, by decreasing probability. `num_open`: of the context's places, those that nothing follows.
Proposal grow(const SuffixAutomaton& automaton, SuffixAutomaton::Context context, int64_t num_open,
              const Growth& growth) {
  Proposal proposal;
  std::priority_queue<Branch> branches;
  std::vector<SuffixAutomaton::Next> next;
  int64_t num_branches = 0;
  const auto branch = [&](SuffixAutomaton::Context from, int64_t num_places, double probability, int32_t parent) {
    automaton.find_next(from, growth.num_alternatives, next);
    for (const SuffixAutomaton::Next& one : next) {
      const double path = probability * static_cast<double>(one.count) / static_cast<double>(num_places);
      if (path >= growth.min_probability) branches.push({path, num_branches++, from, one.token, parent});
    }
  };
  branch(context, automaton.count(context) - num_open, 1.0, DraftTree::kRoot);
  while (!branches.empty() && proposal.tree.size() < growth.max_drafts) {
    const Branch best = branches.top();
    branches.pop();
    const int32_t node = proposal.tree.add(best.parent, best.token, static_cast<float>(best.probability));
    proposal.expected += best.probability;
    const SuffixAutomaton::Context reached = automaton.advance(best.context, best.token);
    branch(reached, automaton.count(reached), best.probability, node);
  }
  return proposal;
}

class SuffixDrafter : public Drafter {
 public:
  explicit SuffixDrafter(const SpeculationOptions& options)
      : factor_(options.suffix_factor),
        max_context_(options.suffix_max_depth),
        growth_{.min_probability = std::max(options.suffix_min_probability, options.min_probability),
                .num_alternatives = options.tree ? kMaxAlternatives : 1},
        store_(options.suffix_max_tokens, options.suffix_max_depth) {}

  void propose(std::span<DraftRequest> requests) override {
    for (DraftRequest& request : requests) propose(request);
  }

  void finish(uint64_t sequence, std::span<const int32_t> tokens, int64_t num_prompt_tokens,
              std::string_view salt) override {
    texts_.erase(sequence);
    if (num_prompt_tokens == static_cast<int64_t>(tokens.size())) return;
    // With the end of the prompt, so that an equal question finds the first token of its answer.
    const int64_t first = std::max<int64_t>(0, num_prompt_tokens - max_context_);
    store_.add(salt, tokens.subspan(static_cast<size_t>(first)));
  }

  size_t memory_bytes() const override {
    size_t bytes = store_.memory_bytes();
    for (const auto& [id, text] : texts_) bytes += sizeof(text) + text.memory_bytes();
    return bytes;
  }

 private:
  void propose(DraftRequest& request) {
    SuffixAutomaton& text = texts_.try_emplace(request.sequence, max_context_).first->second;
    const auto num_read = static_cast<size_t>(text.num_tokens());
    const size_t num_unread = request.tokens.size() - num_read;
    for (const int32_t token : request.tokens.subspan(num_read, std::min(num_unread, kTokensPerProposal))) {
      text.append(token);
    }
    Proposal best;
    if (num_unread <= kTokensPerProposal) consider(text, text.end(), 1, request, best);
    for (const SuffixAutomaton* answers : store_.find(request.salt)) {
      consider(*answers, answers->match(request.tokens), 0, request, best);
    }
    if (best.tree.size() < static_cast<size_t>(request.min_drafts)) return;
    best.tree.write(*request.drafts);
  }

  // The context and its shorter ends, down to one token.
  void consider(const SuffixAutomaton& automaton, SuffixAutomaton::Context context, int64_t num_open,
                const DraftRequest& request, Proposal& best) const {
    Growth growth = growth_;
    for (; context.length > 0; context = automaton.shorten(context)) {
      if (automaton.count(context) == num_open) continue;
      const auto max_drafts = static_cast<int64_t>(factor_ * static_cast<float>(context.length));
      growth.max_drafts = static_cast<size_t>(std::min<int64_t>(max_drafts, request.max_drafts));
      // No shorter context can have more expected drafts than it may have drafts.
      if (static_cast<double>(growth.max_drafts) <= best.expected) return;
      Proposal proposal = grow(automaton, context, num_open, growth);
      if (proposal.expected > best.expected) best = std::move(proposal);
    }
  }

  float factor_;
  int max_context_;
  Growth growth_;
  SuffixStore store_;
  std::unordered_map<uint64_t, SuffixAutomaton> texts_;  // by sequence
};

}  // namespace

std::unique_ptr<Drafter> make_suffix_drafter(const SpeculationOptions& options) {
  return std::make_unique<SuffixDrafter>(options);
}

}  // namespace quire
