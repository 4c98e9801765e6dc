// Executes the steps of an engine: a model runner computes the rows, and the outputs of the requests (outputs/) consume
// them.
//
// Owned by the engine; engine thread only.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/choice.h"
#include "engine/step_loop.h"
#include "models/running/model_runner.h"

namespace quire {

class ModelExecutor : public Executor {
 public:
  struct Hooks {
    std::function<double()> now_ms;
    std::function<void(double ms_per_block)> observe_move_ms;
    std::function<void(Choice& choice)> on_first_step;  // before the step in which it runs first
    bool wants_likeliest = false;                       // StepResults::likeliest
    std::optional<TypicalAcceptance> typical = {};      // Rows::typical
  };
  // When the prompt of a request has been computed, its other choices are added to `choices`.
  ModelExecutor(ModelRunner& runner, Choices& choices, Hooks hooks);

  void move(std::span<const StepPlan::Move> moves) override;
  uint64_t completed_moves() const override { return completed_moves_; }  // moves are complete when move() returns
  void start(std::span<const StepPlan::Item> items) override;
  // True when the last step returns only tokens: then the device reads them itself for the next step. Not when most of
  // its sequences await their tokens.
  bool may_start_ahead() const override;
  // Stores the results in Choice::update.
  void finish(std::span<const StepPlan::Item> items, StepResults& results) override;

  // After a step threw: waits for the steps that were started and forgets them. May throw too.
  void abandon();

  double started_ms() const { return last_started_ms_; }  // when the last step was started
  double ran_ms() const { return ran_ms_; }               // when the model had computed the step that finished last
  double finished_ms() const { return finished_ms_; }     // when the outputs had consumed its rows

 private:
  // The rows of a step that belong to an item.
  struct StepEntry {
    Choice* choice = nullptr;
    size_t first_row = 0;  // among the step's rows with logits; for an embedding, with hidden states
    int64_t num_rows = 0;
    size_t first_hidden_row = 0;  // among the step's rows with hidden states, for the drafter
    int64_t num_hidden_rows = 0;
    int64_t first_position = 0;  // the position of the first of these rows
    bool samples = false;
    Drafts drafts = {};
  };
  struct StepRows {
    std::vector<StepEntry> entries;  // by item
    bool chooses_tokens = false;     // the device chooses the tokens
    size_t num_hidden_rows = 0;
    double started_ms = 0.0;
  };
  // Rows for a choice.
  struct PendingRows {
    size_t item = 0;
    Choice* choice = nullptr;
    Rows rows;
    bool is_sibling = false;  // the choice begins with this step and reads the rows of the item's choice
  };
  struct Piece {
    Output* output = nullptr;
    size_t pending = 0;
    int64_t index = 0;
  };

  void add_to_batch(const StepPlan::Item& item, StepEntry& entry);
  void add_sequences(const StepPlan::Item& item);
  std::vector<int32_t>& rows_for_drafter();
  void add_hidden_rows(const StepPlan::Item& item, StepEntry& entry);
  void choose_on_device(const StepRows& step);
  void report_hidden(const StepRows& step, StepResults& results);
  std::span<const float> with_path_first(const StepEntry& entry, std::span<const float> rows,
                                         std::span<const int32_t> tokens);
  void report_likeliest(StepResults& results);
  void prepare(std::span<const StepPlan::Item> items, const StepRows& step);
  Rows rows_of(const StepEntry& entry, const StepRows& step, std::span<const float> logits) const;
  void add_siblings(const PendingRows& parent);
  void consume(bool is_cheap);
  void collect(StepResults& results);
  void end_with_sibling(const PendingRows& sibling, StepResults& results);

  ModelRunner& runner_;
  Choices& choices_;
  const Hooks hooks_;
  std::vector<SamplerScratch> scratch_;  // one for each of the runner's host threads
  Batch batch_;
  std::deque<StepRows> started_;  // oldest first
  StepRows spare_;                // a step that finished, for its memory
  bool last_wants_tokens_only_ = false;
  bool last_awaits_tokens_ = false;
  uint64_t completed_moves_ = 0;
  double last_started_ms_ = 0.0;
  double ran_ms_ = 0.0;
  double finished_ms_ = 0.0;

  // For the step that finishes.
  std::vector<PendingRows> pending_;
  std::vector<std::unique_ptr<Choice>> siblings_;
  std::vector<Piece> pieces_;
  std::vector<Output*> prepared_;
  std::deque<std::vector<float>> moved_hidden_;  // of items with trees of drafts
  std::vector<int32_t> likeliest_;
};

}  // namespace quire
