// The simulator's executor: a model that computes nothing. A step takes what a cost model says; tokens are a pure
// function of what stands before them; and the KV cache remembers, as a digest for each position, who wrote what. So a
// wrong block table, a missed copy, a block used too early or a roll-back that went too far is read as a wrong digest.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/simulator.h"
#include "engine/step_loop.h"

namespace quire {

// What stands in the cache for a position: a digest of every token up to it.
uint64_t extend_digest(uint64_t digest, int32_t token);
int32_t token_after(uint64_t digest);

// A choice of a request, as the model knows it.
struct SimulatedChoice {
  Sequence sequence;
  size_t request = 0;
  int64_t stop_length = 0;           // of the sequence at which it ends, as by an end token
  std::vector<uint64_t> digests;     // of tokens[0 .. i], those to come included
  std::vector<int32_t> coming = {};  // tokens that steps in flight have chosen
  std::vector<int32_t> chosen = {};  // by the step that finished
  double first_ms = 0.0;
  double last_ms = 0.0;
  bool is_first = false;  // the choice whose times count

  void push(int32_t token);
  // Choices of one request differ in their seeds.
  int32_t token_for(uint64_t seen) const { return token_after(seen + sequence.id); }
};

class SimulatedModel : public Executor {
 public:
  using Choices = std::unordered_map<const Sequence*, std::unique_ptr<SimulatedChoice>>;
  // Adds the choices that begin when a prompt has ended to `live`.
  SimulatedModel(const SimulationOptions& options, Choices& live);

  void move(std::span<const StepPlan::Move> moves) override;
  uint64_t completed_moves() const override { return completed_moves_; }
  void start(std::span<const StepPlan::Item> items) override;
  // Now and then, as the dice fall, a step needs the host.
  bool may_start_ahead() const override { return last_may_be_followed_; }
  void finish(std::span<const StepPlan::Item> items, StepResults& results) override;

  int64_t num_steps() const { return num_steps_; }
  int64_t num_rejected_drafts() const { return num_rejected_; }
  int64_t num_accepted_drafts() const { return num_accepted_; }
  [[noreturn]] void violated(const std::string& what) const;

 private:
  struct Chosen {
    uint64_t seen = 0;  // what the model had read when it chose the first
    std::vector<int32_t> tokens;
  };
  struct Running {
    std::vector<Chosen> chosen;  // by item
    double ms = 0.0;
  };

  void write(const StepPlan::Item& item);
  void verify(const StepPlan::Item& item);
  Chosen choose(const StepPlan::Item& item);
  int32_t token_at(const StepPlan::Item& item, int64_t position) const;
  // What the model reads of a group at a position before `end`; how far it sees.
  uint64_t& entry(size_t group, const Sequence& sequence, int64_t position);
  int64_t first_seen(size_t group, int64_t position) const;

  const SimulationOptions& options_;
  Choices& live_;
  CostModel cost_;
  std::mt19937_64 random_;
  // Of every KV group: pool and host tier.
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
