// Explores every interleaving of arrivals, steps and cancellations of a few requests over a few blocks, visiting each
// scheduler state once: any fault that so few can cause is found.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>

#include "engine/step_loop.h"

namespace quire {
namespace {

constexpr int64_t kBlock = 2;
constexpr int32_t kDraft = 2000;   // on the trunk of a tree
constexpr int32_t kBranch = 2001;  // on a branch

struct SmallRequest {
  int64_t num_prompt;
  int64_t num_output;
  int num_choices = 1;
  int32_t first_token = 0;  // requests with equal first tokens share their prefix
  int32_t priority = 0;
  int64_t num_known_output = 0;  // the length that the scheduler expects, when an end token comes earlier; 0: the same
  int num_drafts = 0;            // before each step
  // Further drafts, a branch that begins after the last token, and of which the last one is a branch after its first.
  int num_branch_drafts = 0;
  int num_beams = 0;  // of a search
};

struct Scope {
  SchedulerOptions scheduler;
  std::vector<SmallRequest> requests;
  int max_in_flight = 1;  // steps
  int num_cancellations = 2;
};

// The result of one path of actions. 's': a step whose drafts are all right; 'w': a step whose drafts are all wrong;
// 'h': a step where only the first draft of each sequence is right; 'b': a step where the drafts of branches are; 'k':
// a step after which all beams of a search go on from its first; 'a': the next request arrives; '0'..'5': that sequence
// is cancelled.
class World : public Executor {
 public:
  // `path` was checked when it was explored; only what follows is.
  World(const Scope& scope, const std::string& path)
      : scope_(scope), scheduler_(scope.scheduler), loop_(scheduler_, *this, scope.max_in_flight) {
    for (const char done : path) act(done);
    is_checked_ = true;
  }

  // Those of act() that may be possible here.
  std::string actions() const {
    const auto has = [&](auto&& what) { return std::ranges::any_of(scope_.requests, what); };
    std::string found = "s";
    if (has([](const SmallRequest& r) { return r.num_drafts + r.num_branch_drafts > 0; })) found += "wh";
    if (has([](const SmallRequest& r) { return r.num_branch_drafts > 0; })) found += "b";
    if (has([](const SmallRequest& r) { return r.num_beams > 0; })) found += "k";
    if (next_ < scope_.requests.size()) found += "a";
    for (size_t i = 0; i < 6; ++i) {
      if (may_cancel(i)) found += static_cast<char>('0' + i);
    }
    return found;
  }

  // False when the action is not possible here, or has the same effect as 's'.
  bool act(char action) {
    if (action == 'a') return arrive();
    is_branch_right_ = action == 'b';
    does_first_beam_win_ = action == 'k';
    if (action == 'k') return step(std::numeric_limits<int64_t>::max()) && had_beams_;
    if (action == 'b') return step(std::numeric_limits<int64_t>::max()) && had_branches_;
    if (action == 's') return step(std::numeric_limits<int64_t>::max());
    if (action == 'w') return step(0) && had_drafts_;
    if (action == 'h') return step(1) && had_drafts_;
    return cancel(static_cast<size_t>(action - '0'));
  }

  // Everything that the scheduler's further decisions depend on.
  std::string state() const {
    std::string out;
    const auto add = [&](int64_t value) { out += std::to_string(value) + ","; };
    add(static_cast<int64_t>(next_));
    add(cancelled_);
    for (const auto& sequence : sequences_) {
      add(static_cast<int64_t>(sequence->id));
      add(static_cast<int64_t>(sequence->state));
      if (sequence->state == SequenceState::kFinished) continue;
      add(sequence->num_known_tokens());
      add(sequence->num_pending_tokens);
      add(sequence->num_computed_tokens);
      add(sequence->num_settled_tokens);
      add(sequence->num_pending_drafts);
      add(sequence->num_choices);
      add(sequence->is_long ? 1 : 0);
      add(std::min<int64_t>(sequence->num_preemptions, 3));
      for (const std::vector<BlockTable>* tables : {&sequence->kv.tables, &sequence->kv.host_tables}) {
        for (const BlockTable& table : *tables) {
          for (const int32_t block : table) add(block);
          out += '/';
        }
        out += '/';
      }
      for (const KvBranch& branch : sequence->kv.branches) {
        for (const BlockTable& table : branch.tables) {
          for (const int32_t block : table) add(block);
        }
        out += '/';
      }
      out += ';';
    }
    for (const StartedStep& step : loop_.in_flight()) {
      for (const StepPlan::Item& item : step.items) {
        add(item.sequence == nullptr ? -1 : static_cast<int64_t>(item.sequence->id));
        add(item.num_tokens);
        add(item.num_drafts);
        add(item.samples ? 1 : 0);
      }
      out += '|';
    }
    for (size_t g = 0; g < scheduler_.kv().num_groups(); ++g) {
      const BlockManager& blocks = scheduler_.kv().blocks(g);
      for (int32_t block = 0; block < blocks.num_total(); ++block) add(static_cast<int64_t>(blocks.state(block)));
    }
    return out;
  }

  bool is_over() const { return next_ == scope_.requests.size() && !has_work() && loop_.in_flight().empty(); }
  const Scheduler& scheduler() const { return scheduler_; }

 private:
  bool arrive() {
    if (next_ == scope_.requests.size()) return false;
    const SmallRequest& request = scope_.requests[next_];
    auto sequence = std::make_unique<Sequence>();
    sequence->id = next_ * 10;
    for (int64_t i = 0; i < request.num_prompt; ++i) {
      sequence->tokens.push_back(request.first_token * 100 + static_cast<int32_t>(i));
    }
    sequence->num_prompt_tokens = request.num_prompt;
    sequence->max_tokens = request.num_prompt + std::max(request.num_output, request.num_known_output);
    sequence->num_choices = std::max(request.num_choices, request.num_beams);
    sequence->is_beam = request.num_beams > 0;
    sequence->awaits_tokens = request.num_drafts > 0 || request.num_beams > 0;
    sequence->priority = request.priority;
    scheduler_.add(sequence.get());
    sequences_.push_back(std::move(sequence));
    ++next_;
    check();
    return true;
  }

  void check() const {
    if (is_checked_) scheduler_.check();
  }

  bool has_work() const { return scheduler_.num_running() + scheduler_.num_waiting() > 0; }

  bool step(int64_t num_right) {
    num_right_drafts_ = num_right;
    had_drafts_ = had_branches_ = had_beams_ = false;
    const bool none_in_flight = loop_.in_flight().empty();
    const bool had_work = has_work();
    for (const auto& sequence : sequences_) {
      if (sequence->state != SequenceState::kRunning || sequence->num_pending_tokens > 0) continue;
      propose(*sequence);
    }
    const StartedStep* step = loop_.step();
    check();
    EXPECT_TRUE(!none_in_flight || (step != nullptr) == had_work) << "somebody must advance while anybody waits";
    if (step == nullptr) return false;
    for (const StepPlan::Item& item : step->items) {
      if (item.sequence != nullptr && item.samples && !item.sequence->is_beam) finish_if_at_end(item.sequence);
    }
    for (size_t request = 0; request < next_; ++request) part_beams(request);
    for (const StepResults::Fork& fork : loop_.results().forks) finish_if_at_end(fork.child);
    check();
    return true;
  }

  std::vector<Sequence*> living(size_t request) const {
    std::vector<Sequence*> found;
    for (const auto& sequence : sequences_) {
      const bool lives = sequence->state != SequenceState::kFinished;
      if (sequence->id / 10 == request && lives) found.push_back(sequence.get());
    }
    return found;
  }

  // When all beams of a search are parked, each goes on, or all from the first.
  void part_beams(size_t request) {
    const int num_beams = scope_.requests[request].num_beams;
    std::vector<Sequence*> beams = living(request);
    const auto is_parked = [](const Sequence* beam) { return beam->state == SequenceState::kParked; };
    if (num_beams == 0 || beams.empty() || !std::ranges::all_of(beams, is_parked)) return;
    had_beams_ = had_beams_ || beams.size() > 1;
    const int64_t length = scope_.requests[request].num_prompt + scope_.requests[request].num_output;
    const bool is_at_end = beams[0]->num_known_tokens() + 1 == length;
    const size_t num_kept = is_at_end ? 0 : does_first_beam_win_ ? 1 : beams.size();
    for (size_t i = num_kept; i < beams.size(); ++i) loop_.finish(beams[i]);
    if (is_at_end) return;
    beams.resize(num_kept);
    for (auto missing = static_cast<size_t>(num_beams) - num_kept; missing > 0; --missing) {
      auto child = std::make_unique<Sequence>();
      child->id = unused_id(request);
      scheduler_.branch(beams[0], child.get(), token_of(child->id));
      sequences_.push_back(std::move(child));
    }
    for (Sequence* beam : beams) scheduler_.resume(beam, token_of(beam->id));
  }

  uint64_t unused_id(size_t request) const {
    uint64_t id = request * 10;
    const std::vector<Sequence*> beams = living(request);
    while (std::ranges::any_of(beams, [&](const Sequence* beam) { return beam->id == id; })) ++id;
    return id;
  }

  void propose(Sequence& sequence) const {
    const SmallRequest& request = scope_.requests[sequence.id / 10];
    Drafts& drafts = sequence.drafts;
    drafts.clear();
    drafts.tokens.assign(static_cast<size_t>(request.num_drafts), kDraft);
    if (request.num_branch_drafts == 0) return;
    for (int i = 0; i < request.num_drafts; ++i) drafts.parents.push_back(i - 1);
    for (int i = 0; i < request.num_branch_drafts; ++i) {
      const bool is_last = i > 1 && i + 1 == request.num_branch_drafts;
      drafts.tokens.push_back(is_last ? kDraft : kBranch);
      drafts.parents.push_back(i == 0 ? -1 : request.num_drafts + (is_last ? 0 : i - 1));
    }
  }

  void move(std::span<const StepPlan::Move> moves) override { completed_moves_ = moves.back().mark; }
  uint64_t completed_moves() const override { return completed_moves_; }

  // No two sequences write one slot, and nobody writes a block that another holds.
  void start(std::span<const StepPlan::Item> items) override {
    if (!is_checked_) return;
    scheduler_.check();
    std::set<std::pair<size_t, int64_t>> written;  // group and slot
    for (const StepPlan::Item& item : items) {
      const int64_t rope_switch = scope_.scheduler.rope_switch_length;
      const int64_t end = item.first_position + item.num_positions();
      EXPECT_TRUE(rope_switch == 0 || item.sequence->is_long || end <= rope_switch);
      EXPECT_TRUE(!item.sequence->is_long || !item.samples || end - item.num_on_trunk > rope_switch);
      for (size_t g = 0; g < scheduler_.kv().num_groups(); ++g) {
        const BlockTable& table = item.sequence->kv.tables[g];
        const auto write = [&](int32_t block, int64_t p) {
          EXPECT_TRUE(written.emplace(g, block * kBlock + p % kBlock).second);
          EXPECT_FALSE(scheduler_.kv().blocks(g).is_shared(block));
        };
        for (int64_t p = item.first_position; p < item.first_position + item.num_positions(); ++p) {
          write(table[static_cast<size_t>(p / kBlock)], p);
        }
        const std::vector<KvBranch>& branches = item.sequence->kv.branches;
        for (int32_t b = 0; b < std::ssize(branches); ++b) {
          const KvBranch& branch = branches[static_cast<size_t>(b)];
          const int64_t end_position = branch.first_position + branch.num_drafts;
          for (int64_t p = branch.first_position / kBlock * kBlock; p < end_position; ++p) {
            write(item.sequence->kv.block_of(g, p, kBlock, b), p);
          }
        }
      }
    }
  }

  bool may_start_ahead() const override { return true; }

  void finish(std::span<const StepPlan::Item> items, StepResults& results) override {
    chosen_.assign(items.size(), {});
    for (size_t i = 0; i < items.size(); ++i) {
      const StepPlan::Item& item = items[i];
      if (item.sequence == nullptr || !item.samples) continue;
      const Sequence& sequence = *item.sequence;
      const SmallRequest& request = scope_.requests[sequence.id / 10];
      results.tokens[i] = {};
      if (sequence.is_beam) continue;
      had_drafts_ = had_drafts_ || item.num_drafts > 0;
      const int64_t room = request.num_prompt + request.num_output - sequence.num_known_tokens();
      had_branches_ = had_branches_ || item.num_drafts > item.num_on_trunk;
      const int64_t num_right = std::min(num_right_drafts_, room - 1);
      chosen_[i] = right_drafts(sequence, item, num_right);
      chosen_[i].push_back(token_of(sequence.id));
      results.tokens[i] = chosen_[i];
      for (int left = sequence.num_choices - 1; left > 0; --left) {
        auto child = std::make_unique<Sequence>();
        child->id = sequence.id + static_cast<uint64_t>(left);
        results.forks.push_back({i, child.get(), token_of(child->id)});
        sequences_.push_back(std::move(child));
      }
    }
  }

  // The path of the last draft, when branches are right, or of the last one on the trunk; at most `most` of it.
  std::vector<int32_t> right_drafts(const Sequence& sequence, const StepPlan::Item& item, int64_t most) const {
    auto draft = static_cast<int32_t>(is_branch_right_ ? item.num_drafts : item.num_on_trunk) - 1;
    std::vector<int32_t> right;
    for (; draft >= 0; draft = sequence.drafts.parent_of(static_cast<size_t>(draft))) {
      right.insert(right.begin(), sequence.drafts.tokens[static_cast<size_t>(draft)]);
    }
    right.resize(static_cast<size_t>(std::min(most, std::ssize(right))));
    return right;
  }

  static int32_t token_of(uint64_t id) { return static_cast<int32_t>(1000 + id); }

  void finish_if_at_end(Sequence* sequence) {
    const SmallRequest& request = scope_.requests[sequence->id / 10];
    if (sequence->num_known_tokens() == request.num_prompt + request.num_output) loop_.finish(sequence);
  }

  bool may_cancel(size_t index) const {
    return index < sequences_.size() && cancelled_ < scope_.num_cancellations &&
           sequences_[index]->state != SequenceState::kFinished;
  }

  bool cancel(size_t index) {
    if (!may_cancel(index)) return false;
    ++cancelled_;
    const bool is_beam = sequences_[index]->is_beam;
    const std::vector<Sequence*> ended =
        is_beam ? living(sequences_[index]->id / 10) : std::vector<Sequence*>{sequences_[index].get()};
    for (Sequence* sequence : ended) loop_.finish(sequence);
    check();
    return true;
  }

  const Scope& scope_;
  Scheduler scheduler_;
  StepLoop loop_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
  std::vector<std::vector<int32_t>> chosen_;  // by item of the step that settles
  int64_t num_right_drafts_ = 0;              // of each sequence in the step that settles
  bool does_first_beam_win_ = false;          // after this step
  bool had_beams_ = false;                    // that parted after this step
  bool is_branch_right_ = false;              // likewise: those of branches, not those of the trunk
  bool had_drafts_ = false;                   // the step that settles had drafts
  bool had_branches_ = false;                 // likewise
  bool is_checked_ = false;
  uint64_t completed_moves_ = 0;
  size_t next_ = 0;
  int cancelled_ = 0;
};

// The way to a state, and the actions that may be possible there.
struct Path {
  std::string done;
  std::string next;
};

// Returns the number of states.
size_t explore(const Scope& scope) {
  std::unordered_set<std::string> seen;
  std::deque<Path> paths = {{"", World(scope, "").actions()}};
  bool reached_the_end = false;
  while (!paths.empty() && !testing::Test::HasFailure()) {
    const auto [path, actions] = std::move(paths.front());
    paths.pop_front();
    for (const char action : actions) {
      World world(scope, path);
      if (!world.act(action)) continue;
      if (world.is_over()) {
        reached_the_end = true;
        for (size_t g = 0; g < world.scheduler().kv().num_groups(); ++g) {
          EXPECT_EQ(world.scheduler().kv().blocks(g).num_active(), 0) << path << action << ", group " << g;
        }
      }
      EXPECT_LT(path.size(), 60u) << "no end is reached: " << path;
      if (seen.insert(world.state()).second) paths.push_back({path + action, world.actions()});
      if (testing::Test::HasFailure()) ADD_FAILURE() << "after " << path << action;
    }
  }
  EXPECT_TRUE(reached_the_end);
  return seen.size();
}

SchedulerOptions tiny(int64_t num_blocks) {
  SchedulerOptions options;
  options.block_size = kBlock;
  options.kv_groups = {{.num_blocks = num_blocks}};
  options.max_batch_tokens = 4;
  options.max_sequences = 3;
  return options;
}

// The tests expect a number of states only to show that the search did not end early.
const std::vector<SmallRequest> kMixed = {{3, 6}, {2, 7}, {1, 5}, {4, 4}};

TEST(SmallScope, PreemptionByRecompute) {
  EXPECT_GT(explore({tiny(5), kMixed}), 1000u);
  EXPECT_GT(explore({tiny(6), kMixed}), 1000u);
}

TEST(SmallScope, PreemptionBySwap) {
  SchedulerOptions options = tiny(5);
  options.preemption = Preemption::kSwap;
  options.kv_groups[0].num_host_blocks = 3;
  EXPECT_GT(explore({options, kMixed}), 1000u);
}

TEST(SmallScope, SharedPrefixesWithFewBlocks) {
  EXPECT_GT(explore({tiny(6), {{5, 5}, {5, 3}, {3, 5, 1, 1}, {5, 3}}}), 400u);
}

TEST(SmallScope, ForksCopyOnWrite) {
  SchedulerOptions options = tiny(6);
  options.prefix_caching = false;
  const std::vector<SmallRequest> forking = {{3, 4, 2}, {2, 4}, {3, 3, 2}};
  EXPECT_GT(explore({options, forking}), 400u);
  options.preemption = Preemption::kSwap;
  options.kv_groups[0].num_host_blocks = 4;
  EXPECT_GT(explore({options, forking}), 400u);
}

// A group with a window, alone or beside one without; preemption by recompute and swap, forks, shared prefixes, drafts.
TEST(SmallScope, Windows) {
  SchedulerOptions options = tiny(6);
  options.kv_groups.push_back({.window = 3, .num_blocks = 5});
  EXPECT_GT(explore({options, kMixed}), 1000u);
  EXPECT_GT(explore({options, {{5, 5}, {5, 3}, {3, 5, 1, 1}, {5, 3}}}), 400u);
  EXPECT_GT(explore({options, {{3, 4, 2}, {2, 4}, {3, 3, 2}}}), 400u);
  options.preemption = Preemption::kSwap;
  options.kv_groups[0].num_host_blocks = 3;
  options.kv_groups[1].num_host_blocks = 2;
  EXPECT_GT(explore({options, kMixed}), 1000u);
  EXPECT_GT(explore({options, {{3, 4, 1, 0, 0, 6}, {2, 7}, {1, 2, 1, 0, 0, 5}, {4, 4}}, 2}), 1000u);
  options.max_batch_tokens = 7;
  options.kv_groups[1].num_blocks = 6;
  EXPECT_GT(explore({options, {{3, 6, 1, 0, 0, 0, 3}, {2, 4}, {3, 5, 1, 0, 0, 8, 2}}, 2}), 400u);
}

TEST(SmallScope, OneGroupWithAWindow) {
  SchedulerOptions options = tiny(5);
  options.kv_groups[0].window = 3;
  EXPECT_GT(explore({options, kMixed}), 400u);
  EXPECT_GT(explore({options, {{5, 5}, {5, 3}, {3, 5, 1, 1}, {5, 3}}, 2}), 400u);
}

// Sequences that are computed again when they become longer than five tokens, in every way in which they may be met.
TEST(SmallScope, RopeSwitch) {
  SchedulerOptions options = tiny(6);
  options.rope_switch_length = 5;
  for (const int max_in_flight : {1, 2}) {
    EXPECT_GT(explore({options, {{3, 5}, {2, 5}, {4, 4, 1, 1}, {6, 2, 1, 1}}, max_in_flight}), 400u);
  }
  EXPECT_GT(explore({options, {{4, 4, 2}, {2, 4}, {3, 4, 2}}}), 400u);
  options.preemption = Preemption::kSwap;
  options.kv_groups[0].num_host_blocks = 3;
  EXPECT_GT(explore({options, {{3, 5}, {2, 5}, {4, 4}}, 2}), 400u);
  options.max_batch_tokens = 7;
  EXPECT_GT(explore({options, {{3, 5, 1, 0, 0, 0, 3}, {2, 4}, {3, 4, 1, 0, 0, 6, 2}}, 2}), 400u);
  options.kv_groups.push_back({.window = 3, .num_blocks = 6, .num_host_blocks = 2});
  EXPECT_GT(explore({options, {{3, 5}, {2, 5}, {4, 4}}}), 400u);
}

TEST(SmallScope, PrioritiesPreempt) {
  SchedulerOptions options = tiny(5);
  options.policy = SchedulingPolicy::kPriority;
  options.max_sequences = 2;
  EXPECT_GT(explore({options, {{3, 3, 1, 0, 2}, {2, 3, 1, 0, 1}, {3, 3, 2, 1, 0}, {2, 2, 1, 0, 0}}}), 1000u);
}

// Beams are parked between their steps, lose their blocks to others there, and are copied from each other.
TEST(SmallScope, ParkedBeams) {
  const std::vector<SmallRequest> searching = {
      {.num_prompt = 3, .num_output = 3, .num_beams = 2}, {2, 4}, {.num_prompt = 1, .num_output = 3, .num_beams = 2}};
  SchedulerOptions options = tiny(6);
  for (const int max_in_flight : {1, 2}) {
    EXPECT_GT(explore({options, searching, max_in_flight}), 400u);
  }
  options.preemption = Preemption::kSwap;
  options.kv_groups[0].num_host_blocks = 3;
  EXPECT_GT(explore({options, searching}), 400u);
}

// Steps are planned while earlier ones run, also for sequences that turn out to have ended.
TEST(SmallScope, RunningAhead) {
  const std::vector<SmallRequest> ending = {{3, 4, 1, 0, 0, 6}, {2, 7}, {1, 2, 1, 0, 0, 5}, {4, 4}};
  EXPECT_GT(explore({tiny(5), ending, 2}), 1000u);
  SchedulerOptions swapping = tiny(5);
  swapping.preemption = Preemption::kSwap;
  swapping.kv_groups[0].num_host_blocks = 3;
  EXPECT_GT(explore({swapping, ending, 2}), 1000u);
  EXPECT_GT(explore({tiny(6), {{5, 3, 1, 0, 0, 5}, {5, 3}, {3, 5, 1, 1}, {5, 3}}, 2}), 400u);
}

TEST(SmallScope, RunningAheadOfForksAndPriorities) {
  SchedulerOptions options = tiny(6);
  options.policy = SchedulingPolicy::kPriority;
  EXPECT_GT(explore({options, {{3, 4, 2, 0, 1}, {2, 2, 1, 0, 2, 4}, {3, 3, 2, 0, 0}}, 2}), 400u);
}

TEST(SmallScope, ThreeStepsInFlight) {
  const std::vector<SmallRequest> ending = {{3, 4, 1, 0, 0, 6}, {2, 5}, {1, 2, 1, 0, 0, 5}};
  SchedulerOptions options = tiny(5);
  EXPECT_GT(explore({options, ending, 3}), 400u);
  options.preemption = Preemption::kSwap;
  options.kv_groups[0].num_host_blocks = 3;
  EXPECT_GT(explore({options, ending, 3}), 400u);
}

// Every outcome of drafts (all, one or none right) while other sequences decode, end and are preempted.
TEST(SmallScope, Drafts) {
  const std::vector<SmallRequest> drafting = {{3, 6, 1, 0, 0, 0, 3}, {2, 4}, {3, 5, 1, 0, 0, 8, 2}};
  SchedulerOptions options = tiny(5);
  options.max_batch_tokens = 7;
  for (const int max_in_flight : {1, 2, 3}) {
    EXPECT_GT(explore({options, drafting, max_in_flight}), 400u);
  }
  options.preemption = Preemption::kSwap;
  options.kv_groups[0].num_host_blocks = 3;
  for (const int max_in_flight : {1, 2, 3}) {
    EXPECT_GT(explore({options, drafting, max_in_flight}), 400u);
  }
}

// Trees with a branch, or with one that has a branch itself, while blocks run out.
TEST(SmallScope, TreesOfDrafts) {
  SchedulerOptions options = tiny(7);
  options.max_batch_tokens = 8;
  options.max_branches = 2;
  const std::vector<SmallRequest> drafting = {{3, 6, 1, 0, 0, 0, 2, 3}, {2, 4}, {3, 4, 1, 0, 0, 6, 1, 1}};
  for (const int max_in_flight : {1, 2}) {
    EXPECT_GT(explore({options, drafting, max_in_flight}), 400u);
  }
  options.preemption = Preemption::kSwap;
  options.kv_groups[0].num_host_blocks = 4;
  for (const int max_in_flight : {1, 2}) {
    EXPECT_GT(explore({options, drafting, max_in_flight}), 400u);
  }
  EXPECT_GT(explore({options, {{3, 4, 2, 1, 0, 0, 1, 2}, {3, 3, 1, 1}, {4, 3, 1, 1, 0, 0, 2, 1}}, 2}), 400u);
  options.kv_groups.push_back({.window = 3, .num_blocks = 7, .num_host_blocks = 3});
  EXPECT_GT(explore({options, drafting, 2}), 400u);
}

TEST(SmallScope, DraftsOfForksAndSharedPrefixes) {
  SchedulerOptions options = tiny(6);
  options.max_batch_tokens = 7;
  EXPECT_GT(explore({options, {{3, 4, 2, 1, 0, 0, 2}, {3, 3, 1, 1}, {4, 3, 1, 1, 0, 0, 3}}, 2}), 400u);
}

}  // namespace
}  // namespace quire
