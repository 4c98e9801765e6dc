#include "engine/model_executor.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {

namespace {

// Started ahead, the next step would lack those sequences, and the one after it the others: the batch would split into
// halves that take turns.
bool most_await_tokens(std::span<const StepPlan::Item> items) {
  const auto num_awaiting = std::ranges::count_if(
      items, [](const StepPlan::Item& item) { return item.samples && item.sequence->awaits_tokens; });
  return 2 * num_awaiting >= static_cast<int64_t>(items.size());
}

}  // namespace

ModelExecutor::ModelExecutor(ModelRunner& runner, Choices& choices, Hooks hooks)
    : runner_(runner), choices_(choices), hooks_(std::move(hooks)) {
  for (int thread = 0; thread < runner_.num_host_threads(); ++thread) {
    scratch_.emplace_back(runner_.info().vocab_size);
  }
}

void ModelExecutor::move(std::span<const StepPlan::Move> moves) {
  int64_t num_swaps = 0;
  // The time of a swap is measured, so it must not include the rest of a step that is still running.
  if (std::ranges::any_of(moves, &StepPlan::Move::is_swap)) runner_.wait();
  const double start = hooks_.now_ms();
  for (const StepPlan::Move& move : moves) {
    runner_.move(move.blocks);
    num_swaps += move.is_swap() ? 1 : 0;
    completed_moves_ = move.mark;
  }
  if (num_swaps > 0) hooks_.observe_move_ms((hooks_.now_ms() - start) / static_cast<double>(num_swaps));
}

void ModelExecutor::start(std::span<const StepPlan::Item> items) {
  batch_.clear();
  StepRows step = std::move(spare_);
  step.entries.resize(items.size());
  for (size_t i = 0; i < items.size(); ++i) add_to_batch(items[i], step.entries[i]);
  if (runner_.can_sample()) choose_on_device(step);
  step.chooses_tokens = !batch_.sampling.empty();
  step.num_hidden_rows = rows_for_drafter().size();
  last_wants_tokens_only_ =
      batch_.hidden_rows.empty() && batch_.tapped_rows.empty() && batch_.sampling.size() == batch_.logit_rows.size();
  last_awaits_tokens_ = most_await_tokens(items);
  step.started_ms = last_started_ms_ = hooks_.now_ms();
  runner_.start(batch_);
  started_.push_back(std::move(step));
}

bool ModelExecutor::may_start_ahead() const {
  return runner_.runs_ahead() && last_wants_tokens_only_ && !last_awaits_tokens_;
}

void ModelExecutor::add_to_batch(const StepPlan::Item& item, StepEntry& entry) {
  const Sequence& sequence = *item.sequence;
  Choice& choice = *choices_.at(item.sequence);
  if (choice.timing.first_scheduled_ms == 0.0) hooks_.on_first_step(choice);
  const auto first_row = static_cast<int32_t>(batch_.token_ids.size());
  const auto end_row = first_row + static_cast<int32_t>(item.num_tokens);
  const int64_t end = item.first_position + item.num_tokens - item.num_drafts;
  const int64_t num_known = std::min(end, sequence.num_known_tokens());
  batch_.token_ids.insert(batch_.token_ids.end(), sequence.tokens.begin() + item.first_position,
                          sequence.tokens.begin() + num_known);
  if (num_known < end) {
    // The step before this one chooses that token; a device can read the tokens of that step only.
    CHECK(end == num_known + 1 && started_.size() == 1);
    batch_.token_ids.push_back(chosen_token(choice.chosen_row));
  }
  entry.drafts = sequence.drafts;
  entry.drafts.keep_first(static_cast<size_t>(item.num_drafts));
  batch_.token_ids.insert(batch_.token_ids.end(), entry.drafts.tokens.begin(), entry.drafts.tokens.end());
  add_sequences(item);

  std::vector<int32_t>& wanted = choice.is_embedding() ? batch_.hidden_rows : batch_.logit_rows;
  entry.choice = &choice;
  entry.first_row = wanted.size();
  entry.samples = item.samples;
  entry.num_rows = sequence.needs_all_rows ? item.num_tokens : item.samples ? 1 + item.num_drafts : 0;
  entry.first_hidden_row = 0;
  entry.num_hidden_rows = 0;
  entry.first_position = item.first_position + item.num_tokens - entry.num_rows;
  for (int32_t row = end_row - static_cast<int32_t>(entry.num_rows); row < end_row; ++row) wanted.push_back(row);
  choice.chosen_row = static_cast<int64_t>(wanted.size()) - 1;
  if (choice.hidden_use != HiddenUse::kNone) add_hidden_rows(item, entry);
}

// Where the drafter reads layers, rows of embeddings and its own are two lists.
std::vector<int32_t>& ModelExecutor::rows_for_drafter() {
  return runner_.options().tapped_layers.empty() ? batch_.hidden_rows : batch_.tapped_rows;
}

// The rows of the item are the last ones of the batch.
void ModelExecutor::add_hidden_rows(const StepPlan::Item& item, StepEntry& entry) {
  std::vector<int32_t>& rows = rows_for_drafter();
  entry.first_hidden_row = rows.size();
  if (entry.choice->hidden_use == HiddenUse::kAll) {
    entry.num_hidden_rows = item.num_tokens;
  } else if (item.samples) {
    entry.num_hidden_rows = 1 + item.num_drafts;  // any of them may turn out to be the last that holds
  }
  const auto end_row = static_cast<int32_t>(batch_.token_ids.size());
  for (int64_t i = entry.num_hidden_rows; i > 0; --i) rows.push_back(end_row - static_cast<int32_t>(i));
}

// The sequence and the branches of its drafts.
void ModelExecutor::add_sequences(const StepPlan::Item& item) {
  const Sequence& sequence = *item.sequence;
  const auto trunk = static_cast<int32_t>(batch_.sequences.size());
  batch_.sequences.push_back({.num_tokens = item.num_positions(),
                              .first_position = item.first_position,
                              .block_tables = sequence.kv.tables,
                              .is_long = sequence.is_long});
  for (const KvBranch& branch : sequence.kv.branches) {
    batch_.sequences.push_back({.num_tokens = branch.num_drafts,
                                .first_position = branch.first_position,
                                .block_tables = branch.tables,
                                .is_long = sequence.is_long,
                                .branch_of = trunk + 1 + branch.parent});
  }
}

// The runner chooses either all tokens of a step or none.
void ModelExecutor::choose_on_device(const StepRows& step) {
  for (const StepEntry& entry : step.entries) {
    if (entry.choice->is_embedding()) continue;
    const bool wants_logits = hooks_.wants_likeliest || hooks_.typical;
    if (wants_logits && !entry.drafts.empty()) return batch_.sampling.clear();
    // One of the pending tokens is the one that this step chooses.
    const int64_t num_ahead = entry.choice->sequence.num_pending_tokens - 1;
    for (int64_t row = 0; row < entry.num_rows; ++row) {
      const int64_t depth = entry.drafts.is_chain() ? row : entry.drafts.depth_of(static_cast<int32_t>(row) - 1);
      const std::optional<SamplingRow> sampling = entry.choice->device_sampling(num_ahead + depth);
      if (!sampling) return batch_.sampling.clear();
      batch_.sampling.push_back(*sampling);
    }
  }
}

void ModelExecutor::finish(std::span<const StepPlan::Item> items, StepResults& results) {
  StepRows step = std::move(started_.front());
  started_.pop_front();
  if (runner_.runs_ahead()) prepare(items, step);
  const std::span<const float> logits = runner_.finish();
  ran_ms_ = hooks_.now_ms();

  pending_.clear();
  siblings_.clear();
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].sequence == nullptr || step.entries[i].num_rows == 0) continue;
    const PendingRows rows{i, step.entries[i].choice, rows_of(step.entries[i], step, logits)};
    pending_.push_back(rows);
    if (rows.rows.samples) add_siblings(rows);
  }
  consume(/*is_cheap=*/step.chooses_tokens);
  if (hooks_.wants_likeliest) report_likeliest(results);
  collect(results);
  report_hidden(step, results);
  const double last_finished_ms = std::exchange(finished_ms_, hooks_.now_ms());
  results.step_ms = finished_ms_ - std::max(step.started_ms, last_finished_ms);
  spare_ = std::move(step);
}

// While a device computes the step, the host finds out what its tokens may be.
void ModelExecutor::prepare(std::span<const StepPlan::Item> items, const StepRows& step) {
  prepared_.clear();
  for (size_t i = 0; i < items.size(); ++i) {
    const StepEntry& entry = step.entries[i];
    if (items[i].sequence == nullptr || !entry.samples || entry.choice->request->constraint == nullptr) continue;
    prepared_.push_back(entry.choice->outputs[0].get());
  }
  if (prepared_.empty()) return;
  const int64_t vocab_size = runner_.info().vocab_size;
  runner_.parallel_for(std::ssize(prepared_),
                       [&](int64_t i, int /*thread*/) { prepared_[static_cast<size_t>(i)]->prepare(vocab_size); });
}

void ModelExecutor::report_hidden(const StepRows& step, StepResults& results) {
  results.hidden.clear();
  moved_hidden_.clear();
  if (step.num_hidden_rows == 0) return;
  const bool is_tapped = !runner_.options().tapped_layers.empty();
  const std::span<const float> all = is_tapped ? runner_.tapped() : runner_.hidden();
  const size_t width = all.size() / step.num_hidden_rows;
  for (size_t i = 0; i < step.entries.size(); ++i) {
    const StepEntry& entry = step.entries[i];
    const auto num_rows = static_cast<size_t>(entry.num_hidden_rows);
    std::span<const float> rows = all.subspan(entry.first_hidden_row * width, num_rows * width);
    if (num_rows > 0 && !entry.drafts.is_chain()) rows = with_path_first(entry, rows, results.tokens[i]);
    results.hidden.push_back({entry.num_hidden_rows, rows});
  }
}

// The rows with those of the drafts of a tree that hold before those of others, as in a chain.
std::span<const float> ModelExecutor::with_path_first(const StepEntry& entry, std::span<const float> rows,
                                                      std::span<const int32_t> tokens) {
  const size_t width = rows.size() / static_cast<size_t>(entry.num_hidden_rows);
  const size_t first = static_cast<size_t>(entry.num_hidden_rows) - entry.drafts.size();
  std::vector<float>& moved = moved_hidden_.emplace_back(rows.begin(), rows.end());
  size_t to = first;
  int32_t draft = -1;
  for (const int32_t token : tokens) {
    draft = entry.drafts.find_child(draft, token);
    if (draft < 0) break;
    std::ranges::copy(rows.subspan((first + static_cast<size_t>(draft)) * width, width),
                      moved.begin() + static_cast<std::ptrdiff_t>(to++ * width));
  }
  return moved;
}

Rows ModelExecutor::rows_of(const StepEntry& entry, const StepRows& step, std::span<const float> logits) const {
  Rows rows{.first_position = entry.first_position,
            .num_rows = entry.num_rows,
            .samples = entry.samples,
            .drafts = entry.drafts.tokens,
            .draft_parents = entry.drafts.parents,
            .typical = hooks_.typical ? &*hooks_.typical : nullptr};
  const auto num_rows = static_cast<size_t>(entry.num_rows);
  const auto part_of = [&](std::span<const float> all, int64_t width) {
    return all.subspan(entry.first_row * static_cast<size_t>(width), num_rows * static_cast<size_t>(width));
  };
  if (entry.choice->is_embedding()) {
    rows.hidden = part_of(runner_.hidden(), runner_.info().hidden_size);
  } else if (step.chooses_tokens) {
    rows.chosen = runner_.tokens().subspan(entry.first_row, num_rows);
  } else {
    rows.logits = part_of(logits, runner_.info().vocab_size);
  }
  return rows;
}

// The prompt of a request with several choices has been computed: the other choices start from its blocks and its last
// row.
void ModelExecutor::add_siblings(const PendingRows& parent) {
  if (parent.choice->beams != nullptr) return;  // they part when their tokens are chosen
  for (int index = 1; index < parent.choice->sequence.num_choices; ++index) {
    siblings_.push_back(make_sibling(*parent.choice, index));
    pending_.push_back({parent.item, siblings_.back().get(), parent.rows, /*is_sibling=*/true});
  }
}

// Runs the outputs' pieces in parallel: they share no data. When they are cheap, waking other threads would cost more.
void ModelExecutor::consume(bool is_cheap) {
  pieces_.clear();
  for (size_t i = 0; i < pending_.size(); ++i) {
    for (const auto& output : pending_[i].choice->outputs) {
      const int64_t num_pieces = output->num_pieces(pending_[i].rows);
      for (int64_t piece = 0; piece < num_pieces; ++piece) pieces_.push_back({output.get(), i, piece});
    }
  }
  const auto consume_piece = [this](int64_t i, int thread) {
    const Piece& piece = pieces_[static_cast<size_t>(i)];
    piece.output->consume(pending_[piece.pending].rows, piece.index, scratch_[static_cast<size_t>(thread)]);
  };
  const auto num_pieces = static_cast<int64_t>(pieces_.size());
  if (!is_cheap) return runner_.parallel_for(num_pieces, consume_piece);
  for (int64_t i = 0; i < num_pieces; ++i) consume_piece(i, 0);
}

void ModelExecutor::report_likeliest(StepResults& results) {
  likeliest_.clear();
  results.likeliest.assign(results.tokens.size(), {});
  std::vector<std::span<const float>> logits;  // of every row of an item with drafts
  for (const PendingRows& pending : pending_) {
    const Rows& rows = pending.rows;
    const int64_t num_last = rows.drafts.empty() || rows.logits.empty() ? 0 : std::ssize(rows.drafts) + 1;
    for (int64_t row = rows.num_rows - num_last; row < rows.num_rows; ++row) logits.push_back(rows.logits_of(row));
  }
  likeliest_.resize(logits.size());
  runner_.parallel_for(std::ssize(logits), [&](int64_t row, int /*thread*/) {
    const auto at = static_cast<size_t>(row);
    likeliest_[at] = static_cast<int32_t>(std::ranges::max_element(logits[at]) - logits[at].begin());
  });
  size_t next = 0;
  for (const PendingRows& pending : pending_) {
    if (pending.rows.drafts.empty() || pending.rows.logits.empty()) continue;
    const size_t num_rows = pending.rows.drafts.size() + 1;
    results.likeliest[pending.item] = std::span(likeliest_).subspan(next, num_rows);
    next += num_rows;
  }
}

void ModelExecutor::collect(StepResults& results) {
  for (const PendingRows& pending : pending_) {
    Update& update = pending.choice->update;
    for (const auto& output : pending.choice->outputs) output->publish(pending.rows, update);
    if (!pending.is_sibling) {
      results.tokens[pending.item] = update.tokens;
    } else if (results.tokens[pending.item].empty()) {
      continue;
    } else if (update.tokens.empty()) {
      end_with_sibling(pending, results);
    } else {
      results.forks.push_back({pending.item, &pending.choice->sequence, update.tokens[0]});
    }
  }
  // Siblings without a fork are dropped: their first choice got no token, and its end is theirs too.
  for (std::unique_ptr<Choice>& sibling : siblings_) {
    const Sequence* sequence = &sibling->sequence;
    if (std::ranges::find(results.forks, sequence, &StepResults::Fork::child) == results.forks.end()) continue;
    choices_.emplace(sequence, std::move(sibling));
  }
}

// A choice failed at its first token, though the first one did not: its end becomes that of all choices.
void ModelExecutor::end_with_sibling(const PendingRows& sibling, StepResults& results) {
  const auto is_first = [&](const PendingRows& pending) { return pending.item == sibling.item && !pending.is_sibling; };
  Choice& first = *std::ranges::find_if(pending_, is_first)->choice;
  first.update = std::move(sibling.choice->update);
  results.tokens[sibling.item] = {};
  std::erase_if(results.forks, [&](const StepResults::Fork& fork) { return fork.parent == sibling.item; });
}

void ModelExecutor::abandon() {
  while (!started_.empty()) {
    started_.pop_front();
    runner_.finish();
  }
}

}  // namespace quire
