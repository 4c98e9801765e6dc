#include "models/step_arrays.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace quire {
namespace {

// 1, 2, 4, 8, 16, 32, 48 ...
int64_t padded_rows(int64_t num_rows) {
  int64_t padded = 1;
  while (padded < num_rows) padded += padded < 16 ? padded : 16;
  return padded;
}

// A power of two, or the most there may be.
int64_t rounded_context(int64_t context, int64_t most) {
  return std::min(static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(context))), most);
}

// Whether there is a prefix that all of them share, in the group that reaches furthest.
bool begin_alike(const std::vector<Batch::Sequence>& sequences) {
  const auto first_block = [](const Batch::Sequence& sequence) { return sequence.block_tables[0][0]; };
  return sequences.size() > 1 && first_block(sequences[0]) != kNoBlock &&
         std::ranges::all_of(sequences, [&](const Batch::Sequence& sequence) {
           return first_block(sequence) == first_block(sequences[0]);
         });
}

const BlockTable& table_of(const Batch::Sequence& sequence, size_t group) {
  return sequence.block_tables[sequence.block_tables.size() == 1 ? 0 : group];
}

void check_rows(const std::vector<int32_t>& rows, int64_t num_rows) {
  int32_t previous = -1;
  for (const int32_t row : rows) {
    CHECK(row > previous && row < num_rows);
    previous = row;
  }
}

}  // namespace

void StepArrays::take(Arena& workspace, InputArena& inputs, const StepLimits& limits) {
  limits_ = limits;
  positions_.resize(static_cast<size_t>(limits.max_rows));
  is_long_.resize(positions_.size());
  token_ids_ = inputs.take<int32_t>(limits.max_rows);
  groups_.resize(static_cast<size_t>(limits.num_kv_groups));
  group_rows_.clear();
  for (GroupInputs& group : groups_) {
    group.slots = inputs.take<int64_t>(limits.max_rows);
    group.sequences = inputs.take<AttentionSequence>(limits.max_sequences);
    group.block_tables = inputs.take<int32_t>(limits.max_sequences * blocks_for(limits.max_context));
    group_rows_.push_back({.slots = group.slots.device, .sequences = group.sequences.device});
  }
  wanted_rows_ = inputs.take<int32_t>(limits.max_logit_rows);
  sampling_ = inputs.take<SamplingRow>(limits.max_logit_rows);
  tokens_ = workspace.take<int32_t>(limits.max_logit_rows);
}

Step StepArrays::place(const Batch& batch, int input_slot, const Bounds& bounds) {
  const auto num_rows = static_cast<int64_t>(batch.token_ids.size());
  const auto num_sequences = static_cast<int64_t>(batch.sequences.size());
  CHECK(num_rows > 0 && num_rows <= limits_.max_rows && num_sequences <= limits_.max_sequences);
  place_tokens(batch, input_slot, bounds);
  place_wanted_rows(batch, input_slot, bounds.can_sample);
  Step step{.input_slot = input_slot,
            .num_rows = num_rows,
            .positions = positions_.data(),
            .is_long = is_long_.data(),
            .tokens = {.ids = token_ids_.device, .chosen = tokens_},
            .kv_groups = group_rows_,
            .num_sequences = num_sequences,
            .begin_alike = begin_alike(batch.sequences),
            .wanted_rows = wanted_rows_.device,
            .num_logit_rows = static_cast<int64_t>(batch.logit_rows.size()),
            .num_hidden_rows = static_cast<int64_t>(batch.hidden_rows.size())};
  for (const Batch::Sequence& sequence : batch.sequences) {
    step.max_sequence_rows = std::max(step.max_sequence_rows, sequence.num_tokens);
    step.max_context = std::max(step.max_context, sequence.first_position + sequence.num_tokens);
  }
  int64_t row = 0;
  for (int64_t i = 0; i < num_sequences; ++i) {
    const Batch::Sequence& sequence = batch.sequences[static_cast<size_t>(i)];
    CHECK(row + sequence.num_tokens <= num_rows);
    place_sequence(sequence, step, row);
    for (size_t g = 0; g < groups_.size(); ++g) {
      const AttentionSequence rows{
          .first_row = row, .num_rows = sequence.num_tokens, .first_position = sequence.first_position};
      place_blocks(groups_[g], table_of(sequence, g), bounds.kv->num_blocks(static_cast<int>(g)), i, rows, step);
    }
    row += sequence.num_tokens;
  }
  CHECK(row == num_rows);
  return step;
}

void StepArrays::place_sequence(const Batch::Sequence& sequence, const Step& step, int64_t first_row) {
  const int64_t length = sequence.first_position + sequence.num_tokens;
  CHECK(sequence.num_tokens > 0 && sequence.first_position >= 0 && length <= limits_.max_context);
  const size_t num_tables = sequence.block_tables.size();
  CHECK(num_tables == 1 || num_tables == step.kv_groups.size());
  for (int64_t i = 0; i < sequence.num_tokens; ++i) {
    const auto row = static_cast<size_t>(first_row + i);
    positions_[row] = sequence.first_position + i;
    is_long_[row] = sequence.is_long ? 1 : 0;
  }
}

void StepArrays::place_blocks(const GroupInputs& group, const BlockTable& table, int64_t num_blocks, int64_t index,
                              const AttentionSequence& rows, const Step& step) {
  const int64_t table_blocks = blocks_for(rows.first_position + rows.num_rows);
  CHECK(static_cast<int64_t>(table.size()) >= table_blocks);
  int64_t* const slots = group.slots.host(step.input_slot) + rows.first_row;
  for (int64_t i = 0; i < rows.num_rows; ++i) {
    const int64_t position = rows.first_position + i;
    const int64_t block = table[static_cast<size_t>(position / kKvBlockSize)];
    CHECK(block >= 0 && block < num_blocks);
    slots[i] = block * kKvBlockSize + position % kKvBlockSize;
  }
  AttentionSequence& placed = group.sequences.host(step.input_slot)[index] = rows;
  const int64_t at = index * table_size(step);
  std::copy_n(table.data(), table_blocks, group.block_tables.host(step.input_slot) + at);
  placed.block_table = group.block_tables.device + at;
}

void StepArrays::place_tokens(const Batch& batch, int input_slot, const Bounds& bounds) {
  for (const int32_t id : batch.token_ids) CHECK(id < bounds.vocab_size && -1 - id < bounds.num_chosen);
  std::ranges::copy(batch.token_ids, token_ids_.host(input_slot));
}

void StepArrays::place_wanted_rows(const Batch& batch, int input_slot, bool can_sample) {
  const auto num_rows = static_cast<int64_t>(batch.token_ids.size());
  check_rows(batch.logit_rows, num_rows);
  check_rows(batch.hidden_rows, num_rows);
  CHECK(static_cast<int64_t>(batch.logit_rows.size() + batch.hidden_rows.size()) <= limits_.max_logit_rows);
  int32_t* const after = std::ranges::copy(batch.logit_rows, wanted_rows_.host(input_slot)).out;
  std::ranges::copy(batch.hidden_rows, after);
  if (batch.sampling.empty()) return;
  CHECK(can_sample && batch.sampling.size() == batch.logit_rows.size());
  std::ranges::copy(batch.sampling, sampling_.host(input_slot));
}

int64_t StepArrays::table_size(const Step& step) const {
  return blocks_for(rounded_context(step.max_context, limits_.max_context));
}

bool StepArrays::is_recurrent(const Step& step) const {
  return step.num_rows == step.num_sequences && step.num_logit_rows == step.num_rows && step.num_hidden_rows == 0 &&
         padded_rows(step.num_rows) <= std::min({limits_.max_rows, limits_.max_sequences, limits_.max_logit_rows});
}

void StepArrays::pad(Step& step) {
  const int slot = step.input_slot;
  const int64_t first = step.num_rows;
  step.num_rows = step.num_sequences = step.num_logit_rows = padded_rows(first);
  step.max_context = rounded_context(step.max_context, limits_.max_context);
  for (int64_t row = first; row < step.num_rows; ++row) {
    const auto i = static_cast<size_t>(row);
    token_ids_.host(slot)[row] = 0;
    positions_[i] = 0;
    is_long_[i] = 0;
    for (const GroupInputs& group : groups_) {
      group.slots.host(slot)[row] = -1;
      group.sequences.host(slot)[row] = {.first_row = row, .num_rows = 0, .first_position = 0, .block_table = nullptr};
    }
    wanted_rows_.host(slot)[row] = static_cast<int32_t>(row);
    sampling_.host(slot)[row] = {};
  }
}

void StepArrays::upload(Device& device, const Step& step, bool samples) const {
  const int slot = step.input_slot;
  token_ids_.upload(device, slot, step.num_rows);
  for (const GroupInputs& group : groups_) {
    group.slots.upload(device, slot, step.num_rows);
    group.sequences.upload(device, slot, step.num_sequences);
    group.block_tables.upload(device, slot, step.num_sequences * table_size(step));
  }
  wanted_rows_.upload(device, slot, step.num_logit_rows + step.num_hidden_rows);
  if (samples) sampling_.upload(device, slot, step.num_logit_rows);
}

}  // namespace quire
