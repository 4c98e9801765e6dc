// The simulator's executor: a model that computes nothing. A cost model gives the time of a step; a token is a pure
// function of the tokens before it; and the KV cache holds a digest of the tokens up to each position. So a wrong block
// table, a missed copy, a block used too early or a roll-back that went too far is read as a wrong digest.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/draft_budget.h"
#include "engine/simulator.h"
#include "engine/step_loop.h"

namespace quire {

// The digest that the cache holds for a position: of every token up to it. Appends `token`.
uint64_t extend_digest(uint64_t digest, int32_t token);
int32_t token_after(uint64_t digest);

// A choice of a simulated request.
struct SimulatedChoice {
  Sequence sequence;
  size_t request = 0;
  int64_t stop_length = 0;                     // the sequence ends at this length, as if by an end token
  std::vector<uint64_t> digests;               // [i]: of tokens [0, i], pending tokens included
  std::vector<int32_t> in_flight_tokens = {};  // tokens that steps in flight have chosen
  std::vector<int32_t> chosen = {};            // tokens that the step that finished has chosen
  double first_ms = 0.0;
  double last_ms = 0.0;
  AcceptanceEstimate acceptance = AcceptanceEstimate();
  int64_t num_idle = 0;   // steps without drafts
  bool is_first = false;  // the first choice of its request, whose times are reported

  void push(int32_t token);
  // The choices of one request get different tokens.
  int32_t token_for(uint64_t seen) const { return token_after(seen + sequence.id); }
};

class SimulatedModel : public Executor {
 public:
  using Choices = std::unordered_map<const Sequence*, std::unique_ptr<SimulatedChoice>>;
  // Adds the forked choices of a request to `live` when its prompt has been computed.
  SimulatedModel(const SimulationOptions& options, Choices& live);

  void move(std::span<const StepPlan::Move> moves) override;
  uint64_t completed_moves() const override { return completed_moves_; }
  void start(std::span<const StepPlan::Item> items) override;
  // Random: false for about one step in eight, as if it needed the host.
  bool may_start_ahead() const override { return last_may_be_followed_; }
  void finish(std::span<const StepPlan::Item> items, StepResults& results) override;

  // What a block holds, as a store sees it.
  std::vector<std::span<std::byte>> block_parts(int group, int32_t block);

  int64_t num_steps() const { return num_steps_; }
  int64_t num_rejected_drafts() const { return num_rejected_; }
  int64_t num_accepted_drafts() const { return num_accepted_; }
  [[noreturn]] void fail_invariant(const std::string& what) const;

 private:
  struct Chosen {
    uint64_t seen = 0;  // the digest that the model had read when it chose the first
    std::vector<int32_t> tokens;
  };
  struct Running {
    std::vector<Chosen> chosen;  // by item
    double ms = 0.0;
  };

  void write(const StepPlan::Item& item);
  void verify(const StepPlan::Item& item);
  void verify_side(const StepPlan::Item& item) const;
  static uint64_t side_of(const Sequence& sequence);
  Chosen choose(const StepPlan::Item& item);
  int32_t token_at(const StepPlan::Item& item, int64_t position) const;
  // What the cache holds in a group at a position, as a branch of the sequence sees it (-1: the sequence itself); and
  // the first position that a token at `position` sees.
  uint64_t& entry(size_t group, const Sequence& sequence, int64_t position, int32_t branch = -1);
  int64_t first_seen(size_t group, int64_t position) const;

  const SimulationOptions& options_;
  Choices& live_;
  CostModel cost_;
  std::mt19937_64 random_;
  // The pool and the host tier of a KV group.
  struct Tiers {
    std::vector<uint64_t> pool;
    std::vector<uint64_t> host;
  };
  std::vector<Tiers> tiers_;
  uint64_t completed_moves_ = 0;
  std::deque<Running> running_;
  bool last_may_be_followed_ = false;
  int64_t num_steps_ = 0;
  int64_t num_accepted_ = 0;
  int64_t num_rejected_ = 0;
};

}  // namespace quire
