#include "drafting/eagle.h"

#include <algorithm>
#include <numeric>
#include <ranges>
#include <utility>

#include "base/check.h"

namespace quire {

EagleDrafter::EagleDrafter(std::shared_ptr<const PartCheckpoint> part, std::unique_ptr<ModelRunner> runner,
                           DraftVocabulary vocabulary, const Options& options)
    : part_(std::move(part)),
      runner_(std::move(runner)),
      tapped_layers_(options.tapped_layers),
      state_size_(runner_->info().hidden_input_size),
      draws_trees_(options.speculation.tree),
      is_typical_(options.speculation.acceptance == DraftAcceptance::kTypical),
      chooser_(std::move(vocabulary), options.speculation.min_probability, runner_->num_host_threads()),
      sequences_(runner_->options().num_blocks) {
  CHECK(runner_->options().keep_all_positions);
}

void EagleDrafter::States::forget_first(int64_t count) {
  rows.erase(rows.begin(), rows.begin() + count);
  first += count;
}

void EagleDrafter::observe(std::span<const HiddenRows> rows) {
  for (const HiddenRows& of : rows) {
    CHECK(static_cast<int64_t>(of.hidden.size()) == of.num_rows * state_size_);
    States& states = states_[of.sequence];
    // A gap: it begins there again. Rows that are known come again after a preemption.
    if (states.rows.empty() || of.first_position > states.end()) {
      states.first = of.first_position;
      states.rows.clear();
    }
    for (int64_t i = states.end() - of.first_position; i < of.num_rows; ++i) {
      if (std::ssize(states.rows) == kMaxWaitingRows) states.forget_first(1);
      const auto row = of.hidden.subspan(static_cast<size_t>(i * state_size_), static_cast<size_t>(state_size_));
      states.rows.emplace_back(row.begin(), row.end());
    }
  }
}

void EagleDrafter::finish(uint64_t sequence, std::span<const int32_t> /*tokens*/, int64_t /*num_prompt_tokens*/,
                          std::string_view /*salt*/) {
  states_.erase(sequence);
  sequences_.drop(sequence);
}

size_t EagleDrafter::memory_bytes() const {
  size_t bytes = 0;
  for (const auto& [sequence, states] : states_) {
    bytes += sizeof(States) + states.rows.size() * static_cast<size_t>(state_size_) * sizeof(float);
  }
  return bytes;
}

void EagleDrafter::propose(std::span<DraftRequest> requests) {
  sequences_.begin_turn();
  std::vector<DraftRequest*> wanting;
  for (DraftRequest& request : requests) {
    const auto found = states_.find(request.sequence);
    if (found == states_.end()) continue;
    States& states = found->second;
    // The last known token has been chosen, not computed.
    if (states.end() != static_cast<int64_t>(request.tokens.size()) - 1) continue;
    DraftSequence& sequence = sequences_.use(request.sequence);
    if (sequence.num_computed != states.first - states.base) {
      sequence.num_computed = 0;
      states.base = states.first;
    }
    if (max_drafts_of(request, states) >= std::max(1, request.min_drafts)) wanting.push_back(&request);
  }
  const auto most = static_cast<size_t>(runner_->options().max_sequences / kBeam);
  for (size_t first = 0; first < wanting.size(); first += most) {
    propose_together(std::span(wanting).subspan(first, std::min(most, wanting.size() - first)));
  }
}

// As in a draft model, the last draft is not computed.
int EagleDrafter::max_drafts_of(const DraftRequest& request, const States& states) const {
  const int64_t num_computed = static_cast<int64_t>(request.tokens.size()) - 1 - states.base;
  return static_cast<int>(
      std::clamp<int64_t>(runner_->options().max_context + 1 - num_computed, 0, request.max_drafts));
}

void EagleDrafter::propose_together(std::span<DraftRequest*> requests) {
  growing_.clear();
  catch_up(requests);
  if (batch_.token_ids.empty()) return;
  do {
    add_children(runner_->run(batch_));
  } while (step());
  for (Growing& growing : growing_) finish_drafts(growing);
}

void EagleDrafter::catch_up(std::span<DraftRequest*> requests) {
  batch_.clear();
  // Long prompts wait for those that need a row or two.
  std::ranges::stable_sort(requests, {},
                           [&](const DraftRequest* request) { return states_.at(request->sequence).rows.size(); });
  int64_t left = runner_->options().max_batch_tokens;
  for (DraftRequest* request : requests) {
    States& states = states_.at(request->sequence);
    DraftSequence& sequence = sequences_.use(request->sequence);
    const int max_drafts = max_drafts_of(*request, states);
    const int64_t now = std::min(std::ssize(states.rows), left);
    const bool is_last = now == std::ssize(states.rows);
    const int64_t end = sequence.num_computed + now;
    if (now == 0 || !sequences_.reserve(sequence, end + (is_last ? max_drafts - 1 : 0))) continue;
    left -= now;
    append_states(*request, sequence, states, now, is_last);
    if (!is_last) continue;
    const size_t row = batch_.logit_rows.size();
    batch_.logit_rows.push_back(static_cast<int32_t>(batch_.token_ids.size()) - 1);
    growing_.push_back({.request = request,
                        .sequence = &sequence,
                        .sampler = *request->sampler,
                        .is_tree = draws_trees_ && (is_typical_ || request->sampler->is_greedy()),
                        .max_drafts = max_drafts,
                        .num_rows = end,
                        .branches = {{.node = -1, .blocks = sequence.blocks, .row = row}}});
  }
  batch_.hidden_rows = batch_.logit_rows;
}

void EagleDrafter::append_states(const DraftRequest& request, DraftSequence& sequence, States& states, int64_t count,
                                 bool is_last) {
  const auto next = request.tokens.subspan(static_cast<size_t>(states.first) + 1, static_cast<size_t>(count));
  batch_.token_ids.insert(batch_.token_ids.end(), next.begin(), next.end());
  for (int64_t i = 0; i < count; ++i) {
    const std::vector<float>& row = states.rows[static_cast<size_t>(i)];
    batch_.hidden_input.insert(batch_.hidden_input.end(), row.begin(), row.end());
  }
  batch_.sequences.push_back(
      {.num_tokens = count, .first_position = sequence.num_computed, .block_tables = {&sequence.blocks, 1}});
  // The last row is computed again next time, for its results.
  const int64_t done = is_last ? count - 1 : count;
  sequence.num_computed += done;
  states.forget_first(done);
}

void EagleDrafter::add_children(std::span<const float> logits) {
  struct Row {
    Growing* growing;
    const Branch* branch;
    std::vector<Candidate> children;
  };
  std::vector<Row> rows;
  for (Growing& growing : growing_) {
    for (const Branch& branch : growing.branches) rows.push_back({&growing, &branch, {}});
  }
  const auto width = static_cast<size_t>(runner_->info().num_logits(1));
  runner_->parallel_for(static_cast<int64_t>(rows.size()), [&](int64_t i, int thread) {
    Row& row = rows[static_cast<size_t>(i)];
    Growing& growing = *row.growing;
    const std::span<const float> of_row = logits.subspan(row.branch->row * width, width);
    if (growing.is_tree) return chooser_.find_likely(of_row, growing.max_drafts, row.children);
    const std::optional<int32_t> token = chooser_.draw(growing.sampler, of_row, thread);
    if (token) row.children = {{.id = *token, .logit = 0.0f, .probability = 1.0f}};
  });
  for (const Row& row : rows) {
    std::vector<LikelyNode>& nodes = row.growing->nodes;
    const int32_t parent = row.branch->node;
    const float probability = parent < 0 ? 1.0f : nodes[static_cast<size_t>(parent)].probability;
    for (const Candidate& child : row.children) nodes.push_back({child.id, parent, probability * child.probability});
  }
}

std::vector<int32_t> EagleDrafter::nodes_to_extend(const Growing& growing) {
  std::vector<int32_t> order(growing.nodes.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::ranges::greater(),
                           [&](int32_t i) { return growing.nodes[static_cast<size_t>(i)].probability; });
  // Of a node that will not be proposed no descendant will.
  order.resize(std::min(order.size(), static_cast<size_t>(growing.max_drafts)));
  std::erase_if(order, [&](int32_t i) { return static_cast<size_t>(i) < growing.first_new; });
  if (order.size() > kBeam) order.resize(kBeam);
  return order;
}

bool EagleDrafter::step() {
  const std::span<const float> states = runner_->hidden();
  const auto size = static_cast<size_t>(runner_->info().hidden_size);
  batch_.clear();
  for (Growing& growing : growing_) {
    std::vector<Branch> parents = std::exchange(growing.branches, {});
    if (parents.empty() || ++growing.depth >= growing.max_drafts) continue;
    for (const int32_t node : nodes_to_extend(growing)) {
      const int32_t parent_node = growing.nodes[static_cast<size_t>(node)].parent;
      Branch& parent = *std::ranges::find(parents, parent_node, &Branch::node);
      std::optional<BlockTable> blocks = blocks_of_child(growing, parent);
      if (!blocks) continue;
      const auto state = states.subspan(parent.row * size, size);
      batch_.hidden_input.insert(batch_.hidden_input.end(), state.begin(), state.end());
      growing.branches.push_back({.node = node, .blocks = std::move(*blocks), .row = batch_.token_ids.size()});
      batch_.logit_rows.push_back(static_cast<int32_t>(batch_.token_ids.size()));
      batch_.token_ids.push_back(growing.nodes[static_cast<size_t>(node)].token);
    }
    growing.first_new = growing.nodes.size();
    for (const Branch& branch : growing.branches) {
      batch_.sequences.push_back({.num_tokens = 1,
                                  .first_position = growing.num_rows + growing.depth - 1,
                                  .block_tables = {&branch.blocks, 1}});
    }
  }
  batch_.hidden_rows = batch_.logit_rows;
  return !batch_.token_ids.empty();
}

std::optional<BlockTable> EagleDrafter::blocks_of_child(Growing& growing, Branch& parent) {
  if (!parent.is_given) {
    parent.is_given = true;
    return parent.blocks;
  }
  BlockTable blocks = parent.blocks;
  const int64_t first = growing.num_rows / kKvBlockSize;  // that drafts write to
  const int64_t num_written = blocks_for(growing.num_rows + growing.depth - 1);
  for (int64_t i = first; i < static_cast<int64_t>(blocks.size()); ++i) {
    const std::optional<int32_t> spare = sequences_.take_spare();
    if (!spare) return std::nullopt;
    growing.spare.push_back(*spare);
    int32_t& block = blocks[static_cast<size_t>(i)];
    if (i < num_written) runner_->copy_block(block, *spare);
    block = *spare;
  }
  return blocks;
}

void EagleDrafter::finish_drafts(Growing& growing) {
  sequences_.give_back(growing.spare);
  Drafts& drafts = *growing.request->drafts;
  drafts = likeliest_of(growing.nodes, growing.max_drafts);
  if (static_cast<int>(drafts.size()) < growing.request->min_drafts) drafts.clear();
}

}  // namespace quire
