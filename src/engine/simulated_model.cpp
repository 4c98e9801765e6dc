#include "engine/simulated_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/error.h"
#include "engine/draft_gains.h"

namespace quire {

uint64_t extend_digest(uint64_t digest, int32_t token) {
  uint64_t x = digest + 0x9e3779b97f4a7c15u + static_cast<uint32_t>(token);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

int32_t token_after(uint64_t digest) { return static_cast<int32_t>(digest % 32000); }

void SimulatedChoice::push(int32_t token) {
  digests.push_back(extend_digest(digests.empty() ? 0 : digests.back(), token));
}

SimulatedModel::SimulatedModel(const SimulationOptions& options, Choices& live)
    : options_(options), live_(live), cost_(options.cost), random_(options.seed) {
  const int64_t size = options.check ? options.scheduler.block_size : 0;
  for (const KvGroupOptions& group : options.scheduler.kv_groups) {
    tiers_.push_back({std::vector<uint64_t>(static_cast<size_t>(group.num_blocks * size)),
                      std::vector<uint64_t>(static_cast<size_t>(group.num_host_blocks * size))});
  }
}

void SimulatedModel::fail_invariant(const std::string& what) const {
  fail(ErrorCode::kCorrupt, "simulation: {} (step {}, {})", what, num_steps_, describe(options_));
}

void SimulatedModel::move(std::span<const StepPlan::Move> moves) {
  completed_moves_ = moves.back().mark;
  if (!options_.check) return;
  const int64_t size = options_.scheduler.block_size;
  for (const StepPlan::Move& move : moves) {
    Tiers& tiers = tiers_[static_cast<size_t>(move.blocks.group)];
    const auto at = [&](const KvPlace& place) {
      return (place.tier == KvTier::kPool ? tiers.pool : tiers.host).begin() + place.index * size;
    };
    std::copy_n(at(move.blocks.from), size, at(move.blocks.to));
  }
}

void SimulatedModel::start(std::span<const StepPlan::Item> items) {
  constexpr uint64_t kHostEvery = 8;
  last_may_be_followed_ = random_() % kHostEvery != 0;
  ++num_steps_;
  if (options_.check) {
    for (const StepPlan::Item& item : items) write(item);
    // After all writes, so that a sequence that overwrites another's positions is found.
    for (const StepPlan::Item& item : items) verify(item);
  }
  Running step;
  StepShape shape;
  for (const StepPlan::Item& item : items) {
    add_to_shape(shape, item);
    step.chosen.push_back(item.samples ? choose(item) : Chosen{});
  }
  if (options_.check && shape.rows > options_.scheduler.max_batch_tokens)
    fail_invariant("the step is larger than its budget");
  step.ms = cost_.predict_ms(shape);
  if (options_.noise > 0) step.ms *= std::max(0.1, std::normal_distribution<double>(1.0, options_.noise)(random_));
  running_.push_back(std::move(step));
}

int32_t SimulatedModel::token_at(const StepPlan::Item& item, int64_t position) const {
  const SimulatedChoice& choice = *live_.at(item.sequence);
  const Sequence& sequence = choice.sequence;
  const int64_t first_draft = item.first_position + item.num_tokens - item.num_drafts;
  // On the trunk of a tree too.
  if (position >= first_draft) return sequence.drafts.tokens[static_cast<size_t>(position - first_draft)];
  const int64_t num_known = sequence.num_known_tokens();
  if (position >= num_known) return choice.in_flight_tokens[static_cast<size_t>(position - num_known)];
  return sequence.tokens[static_cast<size_t>(position)];
}

// What a digest is stored under: K and V of sequences on different sides of the RoPE switch are different.
uint64_t SimulatedModel::side_of(const Sequence& sequence) { return sequence.is_long ? 0x10'0000'0001u : 0; }

// A row whose token or whose successor stands beyond the switch sees the K and V of long sequences, others do not.
void SimulatedModel::verify_side(const StepPlan::Item& item) const {
  const int64_t rope_switch = options_.scheduler.rope_switch_length;
  if (rope_switch == 0) return;
  const int64_t first_draft = item.first_position + item.num_tokens - item.num_drafts;
  int64_t end = item.first_position + item.num_positions();
  for (const KvBranch& branch : item.sequence->kv.branches) {
    end = std::max(end, branch.first_position + branch.num_drafts);
  }
  const bool is_wrong = item.sequence->is_long ? item.samples && first_draft <= rope_switch : end > rope_switch;
  if (is_wrong) fail_invariant(fmt::format("sequence {} is on the wrong side of the RoPE switch", item.sequence->id));
}

// Every group stores the digest, computed from the digest of the previous position, which every token sees.
void SimulatedModel::write(const StepPlan::Item& item) {
  const Sequence& sequence = *item.sequence;
  const auto write_one = [&](size_t g, int32_t branch, int64_t p, int32_t token) {
    const uint64_t before = p == 0 ? 0 : entry(g, sequence, p - 1, branch) ^ side_of(sequence);
    entry(g, sequence, p, branch) = extend_digest(before, token) ^ side_of(sequence);
  };
  for (size_t g = 0; g < tiers_.size(); ++g) {
    for (int64_t p = item.first_position; p < item.first_position + item.num_positions(); ++p) {
      write_one(g, -1, p, token_at(item, p));
    }
    const std::vector<KvBranch>& branches = sequence.kv.branches;
    for (int32_t b = 0; b < std::ssize(branches); ++b) {
      const KvBranch& branch = branches[static_cast<size_t>(b)];
      const int64_t size = options_.scheduler.block_size;
      const int64_t block_begin = branch.first_position / size * size;
      for (int64_t p = block_begin; p < branch.first_position; ++p) {
        entry(g, sequence, p, b) = entry(g, sequence, p, branch.parent);
      }
      for (int64_t i = 0; i < branch.num_drafts; ++i) {
        const auto draft = static_cast<size_t>(branch.first_draft + i);
        // The first follows the position before it in its own block, or in the last one of its parent.
        write_one(g, b, branch.first_position + i, sequence.drafts.tokens[draft]);
      }
    }
  }
}

void SimulatedModel::verify(const StepPlan::Item& item) {
  verify_side(item);
  const SimulatedChoice& choice = *live_.at(item.sequence);
  const int64_t end = item.first_position + item.num_tokens - item.num_drafts;
  for (size_t g = 0; g < tiers_.size(); ++g) {
    // Checks a sample of a long context; every step checks other positions.
    const int64_t first = first_seen(g, item.first_position);
    const int64_t stride = std::max<int64_t>(1, (end - first) / 64);
    for (int64_t p = first + static_cast<int64_t>(random_() % static_cast<uint64_t>(stride)); p < end; p += stride) {
      const uint64_t digest = entry(g, choice.sequence, p) ^ side_of(choice.sequence);
      if (digest == choice.digests[static_cast<size_t>(p)]) continue;
      fail_invariant(
          fmt::format("sequence {} reads at position {} of group {} what it did not write", choice.sequence.id, p, g));
    }
  }
}

// Chooses, from what the cache holds, the token after the last one and after each draft that was right.
SimulatedModel::Chosen SimulatedModel::choose(const StepPlan::Item& item) {
  SimulatedChoice& choice = *live_.at(item.sequence);
  const int64_t first_draft = item.first_position + item.num_tokens - item.num_drafts;
  const Sequence& sequence = choice.sequence;
  Chosen chosen;
  uint64_t seen = choice.digests.back();
  int32_t draft = -1;
  do {
    if (options_.check) {
      const int64_t position = first_draft - 1 + std::ssize(chosen.tokens);
      const int32_t branch = draft < 0 ? -1 : sequence.kv.branch_of(draft);
      seen = entry(tiers_.size() - 1, sequence, position, branch) ^ side_of(sequence);
    }
    if (chosen.tokens.empty()) chosen.seen = seen;
    chosen.tokens.push_back(choice.token_for(seen));
    seen = extend_digest(seen, chosen.tokens.back());
    draft = sequence.drafts.find_child(draft, chosen.tokens.back());
  } while (draft >= 0 && draft < item.num_drafts);
  // After a step with drafts no step is planned until its tokens are known, so only plain tokens become pending.
  if (item.num_drafts == 0) {
    choice.in_flight_tokens.push_back(chosen.tokens[0]);
    choice.push(chosen.tokens[0]);
  }
  return chosen;
}

void SimulatedModel::finish(std::span<const StepPlan::Item> items, StepResults& results) {
  const Running step = std::move(running_.front());
  running_.pop_front();
  results.step_ms = step.ms;
  for (size_t i = 0; i < items.size(); ++i) {
    const StepPlan::Item& item = items[i];
    if (item.sequence == nullptr || !item.samples) continue;
    SimulatedChoice& choice = *live_.at(item.sequence);
    choice.chosen = step.chosen[i].tokens;
    if (item.num_drafts == 0) {
      choice.in_flight_tokens.erase(choice.in_flight_tokens.begin());
    } else {
      Drafts drafts = choice.sequence.drafts;
      drafts.keep_first(static_cast<size_t>(item.num_drafts));
      observe_drafts(choice.acceptance, drafts, std::span(choice.chosen).first(choice.chosen.size() - 1));
      num_accepted_ += static_cast<int64_t>(choice.chosen.size()) - 1;
      num_rejected_ += item.num_drafts + 1 - static_cast<int64_t>(choice.chosen.size());
      const int64_t room = choice.stop_length - choice.sequence.num_known_tokens();
      if (static_cast<int64_t>(choice.chosen.size()) > room) choice.chosen.resize(static_cast<size_t>(room));
      for (const int32_t token : choice.chosen) choice.push(token);
    }
    results.tokens[i] = choice.chosen;
    for (int left = choice.sequence.num_choices - 1; left > 0; --left) {
      auto child = std::make_unique<SimulatedChoice>(choice);
      child->is_first = false;
      child->sequence = {};
      child->sequence.id = choice.sequence.id + static_cast<uint64_t>(left);
      child->chosen = {child->token_for(step.chosen[i].seen)};
      child->digests.pop_back();
      child->push(child->chosen[0]);
      results.forks.push_back({i, &child->sequence, child->chosen[0]});
      live_.emplace(&child->sequence, std::move(child));
    }
  }
}

std::vector<std::span<std::byte>> SimulatedModel::block_parts(int group, int32_t block) {
  const auto size = static_cast<size_t>(options_.scheduler.block_size);
  const std::span pool(tiers_[static_cast<size_t>(group)].pool);
  return {std::as_writable_bytes(pool.subspan(static_cast<size_t>(block) * size, size))};
}

uint64_t& SimulatedModel::entry(size_t group, const Sequence& sequence, int64_t position, int32_t branch) {
  const int64_t size = options_.scheduler.block_size;
  const int32_t block = sequence.kv.block_of(group, position, size, branch);
  if (block == kNoBlock) {
    fail_invariant(fmt::format("sequence {} sees position {} of group {}, whose block was given back", sequence.id,
                               position, group));
  }
  return tiers_[group].pool[static_cast<size_t>(block * size + position % size)];
}

int64_t SimulatedModel::first_seen(size_t group, int64_t position) const {
  const int64_t window = options_.scheduler.kv_groups[group].window;
  return window == 0 ? 0 : std::max<int64_t>(0, position - window + 1);
}

}  // namespace quire
