#include "drafting/ngram.h"

#include <algorithm>
#include <unordered_map>

#include "drafting/ngram_index.h"

namespace quire {
namespace {

// A longer match is right for longer.
constexpr int64_t kDraftsPerToken = 4;

class NgramDrafter : public Drafter {
 public:
  explicit NgramDrafter(const SpeculationOptions& options)
      : min_(std::max(1, options.ngram_min)), max_(std::max(min_, options.ngram_max)) {}

  void propose(std::span<DraftRequest> requests) override {
    for (DraftRequest& request : requests) propose(request);
  }

  void finish(uint64_t sequence, std::span<const int32_t> /*tokens*/, int64_t /*num_prompt_tokens*/,
              std::string_view /*salt*/) override {
    indices_.erase(sequence);
  }

  size_t memory_bytes() const override {
    size_t bytes = 0;
    for (const auto& [id, index] : indices_) bytes += sizeof(index) + index.memory_bytes();
    return bytes;
  }

 private:
  void propose(DraftRequest& request) {
    const std::span<const int32_t> tokens = request.tokens;
    NgramIndex& index = indices_.try_emplace(request.sequence, min_).first->second;
    index.extend(tokens);
    const NgramIndex::Match match = index.longest_match(tokens, max_);
    if (match.end < 0) return;
    std::vector<int32_t>& drafts = request.drafts->tokens;
    const auto num_drafts = static_cast<size_t>(std::min<int64_t>(request.max_drafts, kDraftsPerToken * match.length));
    if (num_drafts < static_cast<size_t>(request.min_drafts)) return;
    for (auto place = static_cast<size_t>(match.end); drafts.size() < num_drafts; ++place) {
      drafts.push_back(place < tokens.size() ? tokens[place] : drafts[place - tokens.size()]);
    }
  }

  int min_;
  int max_;
  std::unordered_map<uint64_t, NgramIndex> indices_;  // by sequence
};

}  // namespace

std::unique_ptr<Drafter> make_ngram_drafter(const SpeculationOptions& options) {
  return std::make_unique<NgramDrafter>(options);
}

}  // namespace quire
