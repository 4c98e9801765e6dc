#include "drafting/medusa.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "drafting/likely_tree.h"

namespace quire {

MedusaDrafter::MedusaDrafter(std::shared_ptr<const PartCheckpoint> part, std::unique_ptr<ModelRunner> runner,
                             DraftVocabulary vocabulary, const SpeculationOptions& options)
    : part_(std::move(part)),
      runner_(std::move(runner)),
      num_heads_(runner_->info().num_logits(1) / runner_->info().vocab_size),
      draws_trees_(options.tree),
      is_typical_(options.acceptance == DraftAcceptance::kTypical),
      chooser_(std::move(vocabulary), options.min_probability, runner_->num_host_threads()) {}

void MedusaDrafter::observe(std::span<const HiddenRows> rows) {
  const auto size = static_cast<size_t>(runner_->info().hidden_size);
  for (const HiddenRows& of : rows) {
    if (of.num_rows == 0) continue;
    CHECK(of.hidden.size() == static_cast<size_t>(of.num_rows) * size);
    State& state = states_[of.sequence];
    state.position = of.first_position + of.num_rows - 1;
    const std::span<const float> last = of.hidden.last(size);
    state.hidden.assign(last.begin(), last.end());
  }
}

void MedusaDrafter::finish(uint64_t sequence, std::span<const int32_t> /*tokens*/, int64_t /*num_prompt_tokens*/,
                           std::string_view /*salt*/) {
  states_.erase(sequence);
}

size_t MedusaDrafter::memory_bytes() const {
  return states_.size() * (sizeof(State) + static_cast<size_t>(runner_->info().hidden_size) * sizeof(float));
}

void MedusaDrafter::propose(std::span<DraftRequest> requests) {
  std::vector<DraftRequest*> wanting;
  for (DraftRequest& request : requests) {
    const auto found = states_.find(request.sequence);
    // The last known token was chosen from the state before it.
    const bool is_known =
        found != states_.end() && found->second.position == static_cast<int64_t>(request.tokens.size()) - 2;
    if (is_known && request.max_drafts > 0) wanting.push_back(&request);
  }
  const auto most = static_cast<size_t>(runner_->options().max_sequences);
  for (size_t first = 0; first < wanting.size(); first += most) {
    propose_together(std::span(wanting).subspan(first, std::min(most, wanting.size() - first)));
  }
}

bool MedusaDrafter::wants_tree(const DraftRequest& request) const {
  return draws_trees_ && (is_typical_ || request.sampler->is_greedy());
}

void MedusaDrafter::propose_together(std::span<DraftRequest*> requests) {
  // Those that get trees first.
  const auto first_chain = std::stable_partition(requests.begin(), requests.end(),
                                                 [&](const DraftRequest* request) { return wants_tree(*request); });
  batch_.clear();
  for (const DraftRequest* request : requests) {
    const std::vector<float>& hidden = states_.at(request->sequence).hidden;
    batch_.logit_rows.push_back(static_cast<int32_t>(batch_.token_ids.size()));
    batch_.token_ids.push_back(0);
    batch_.sequences.push_back({.num_tokens = 1, .first_position = 0, .block_tables = {}});
    batch_.hidden_input.insert(batch_.hidden_input.end(), hidden.begin(), hidden.end());
  }
  const std::span<const float> logits = runner_->run(batch_);
  propose_trees({requests.begin(), first_chain}, logits);
  propose_chains(requests, logits);
  for (DraftRequest* request : requests) {
    if (static_cast<int>(request->drafts->size()) < request->min_drafts) request->drafts->clear();
  }
}

std::span<const float> MedusaDrafter::row_of(std::span<const float> logits, int64_t head, int64_t index,
                                             int64_t count) const {
  const auto vocab_size = static_cast<size_t>(runner_->info().vocab_size);
  return logits.subspan(static_cast<size_t>(head * count + index) * vocab_size, vocab_size);
}

void MedusaDrafter::propose_trees(std::span<DraftRequest*> requests, std::span<const float> logits) {
  const auto count = static_cast<int64_t>(batch_.token_ids.size());
  std::vector<std::vector<Candidate>> levels(requests.size() * static_cast<size_t>(num_heads_));
  runner_->parallel_for(static_cast<int64_t>(levels.size()), [&](int64_t i, int) {
    const int64_t index = i / num_heads_;
    chooser_.find_likely(row_of(logits, i % num_heads_, index, count), requests[static_cast<size_t>(index)]->max_drafts,
                         levels[static_cast<size_t>(i)]);
  });
  const auto heads = static_cast<size_t>(num_heads_);
  for (size_t i = 0; i < requests.size(); ++i) {
    *requests[i]->drafts = likeliest_tree(std::span(levels).subspan(i * heads, heads), requests[i]->max_drafts);
  }
}

void MedusaDrafter::propose_chains(std::span<DraftRequest*> requests, std::span<const float> logits) {
  const auto count = static_cast<int64_t>(requests.size());
  runner_->parallel_for(count, [&](int64_t i, int thread) {
    const DraftRequest& request = *requests[static_cast<size_t>(i)];
    if (wants_tree(request)) return;
    Sampler sampler = *request.sampler;
    for (int64_t head = 0; head < std::min<int64_t>(num_heads_, request.max_drafts); ++head) {
      const std::optional<int32_t> token = chooser_.draw(sampler, row_of(logits, head, i, count), thread);
      if (!token) return;
      request.drafts->tokens.push_back(*token);
    }
  });
}

}  // namespace quire
