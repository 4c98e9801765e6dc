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

// The first block of its tables: those before it are the ones of the sequence that it is a branch of.
int64_t first_own_block(const Batch::Sequence& sequence) {
  return sequence.is_branch() ? sequence.first_position / kKvBlockSize : 0;
}

// Whether there is a prefix that all of them share, in the group that reaches furthest.
bool begin_alike(const std::vector<Batch::Sequence>& sequences) {
  const auto first_block = [](const Batch::Sequence& sequence) { return sequence.block_tables[0][0]; };
  return sequences.size() > 1 && first_block(sequences[0]) != kNoBlock &&
         std::ranges::all_of(sequences, [&](const Batch::Sequence& sequence) {
           // A branch begins as the sequence that it is a branch of, which is looked at too.
           return sequence.is_branch() ? first_own_block(sequence) > 0
                                       : first_block(sequence) == first_block(sequences[0]);
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
    const int64_t max_sequences = limits.max_sequences + limits.max_branches;
    group.sequences = inputs.take<AttentionSequence>(max_sequences);
    group.block_tables = inputs.take<int32_t>(max_sequences * blocks_for(limits.max_context));
    group.copies = inputs.take<KvCopy>(limits.max_branches * (kKvBlockSize - 1));
    group_rows_.push_back(
        {.slots = group.slots.device, .sequences = group.sequences.device, .copies = group.copies.device});
  }
  wanted_rows_ = inputs.take<int32_t>(limits.max_wanted_rows());
  hidden_places_ = inputs.take<int32_t>(limits.max_hidden_rows);
  tapped_rows_ = inputs.take<int32_t>(limits.num_taps() > 0 ? limits.max_hidden_rows : 0);
  tap_places_ = inputs.take<int32_t>(limits.num_taps() * limits.max_hidden_rows);
  hidden_input_ = inputs.take<float>(limits.max_rows * limits.hidden_input_size);
  sampling_ = inputs.take<SamplingRow>(limits.max_logit_rows);
  tokens_ = workspace.take<int32_t>(limits.max_logit_rows);
}

Step StepArrays::place(const Batch& batch, int input_buffer, const Bounds& bounds) {
  const auto num_rows = static_cast<int64_t>(batch.token_ids.size());
  const auto num_sequences = static_cast<int64_t>(batch.sequences.size());
  const auto num_branches = std::ranges::count_if(batch.sequences, &Batch::Sequence::is_branch);
  CHECK(num_rows > 0 && num_rows <= limits_.max_rows);
  CHECK(num_branches <= limits_.max_branches && num_sequences - num_branches <= limits_.max_sequences);
  place_tokens(batch, input_buffer, bounds);
  Step step{.input_buffer = input_buffer,
            .num_rows = num_rows,
            .positions = positions_.data(),
            .is_long = is_long_.data(),
            .tokens = {.ids = token_ids_.device, .chosen = tokens_},
            .kv_groups = group_rows_,
            .num_sequences = num_sequences,
            .begin_alike = !groups_.empty() && begin_alike(batch.sequences)};
  place_wanted_rows(batch, bounds.can_sample, step);
  place_tapped_rows(batch, step);
  place_hidden_input(batch, bounds.hidden_size, step);
  for (const Batch::Sequence& sequence : batch.sequences) {
    step.max_sequence_rows = std::max(step.max_sequence_rows, sequence.num_tokens);
    step.max_context = std::max(step.max_context, sequence.first_position + sequence.num_tokens);
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    groups_[g].num_blocks = bounds.kv->num_blocks(static_cast<int>(g));
    group_rows_[g].num_copies = 0;
  }
  int64_t row = 0;
  for (size_t i = 0; i < batch.sequences.size(); ++i) {
    const Batch::Sequence& sequence = batch.sequences[i];
    CHECK(row + sequence.num_tokens <= num_rows);
    place_sequence(batch, i, step, row);
    for (size_t g = 0; g < groups_.size(); ++g) {
      place_blocks(g, batch, i, row, step);
      if (sequence.is_branch()) place_copies(g, batch, i, step);
    }
    row += sequence.num_tokens;
  }
  CHECK(row == num_rows);
  return step;
}

void StepArrays::place_sequence(const Batch& batch, size_t index, const Step& step, int64_t first_row) {
  const Batch::Sequence& sequence = batch.sequences[index];
  if (sequence.is_branch()) {
    CHECK(static_cast<size_t>(sequence.branch_of) < index);
    const Batch::Sequence& other = batch.sequences[static_cast<size_t>(sequence.branch_of)];
    CHECK(sequence.first_position > other.first_position &&
          sequence.first_position <= other.first_position + other.num_tokens && sequence.is_long == other.is_long);
  }
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

void StepArrays::place_blocks(size_t group_index, const Batch& batch, size_t index, int64_t first_row,
                              const Step& step) {
  const GroupInputs& group = groups_[group_index];
  const Batch::Sequence& sequence = batch.sequences[index];
  const BlockTable& table = table_of(sequence, group_index);
  const int64_t first_own = first_own_block(sequence);
  const int64_t num_own = blocks_for(sequence.first_position + sequence.num_tokens) - first_own;
  CHECK(static_cast<int64_t>(table.size()) >= num_own);
  int64_t* const slots = group.slots.host(step.input_buffer) + first_row;
  for (int64_t i = 0; i < sequence.num_tokens; ++i) {
    const int64_t position = sequence.first_position + i;
    const int64_t block = table[static_cast<size_t>(position / kKvBlockSize - first_own)];
    CHECK(block >= 0 && block < group.num_blocks);
    slots[i] = block * kKvBlockSize + position % kKvBlockSize;
  }
  int32_t* const placed = placed_table(group, index, step);
  if (first_own > 0) {
    std::copy_n(placed_table(group, static_cast<size_t>(sequence.branch_of), step), first_own, placed);
  }
  std::copy_n(table.data(), num_own, placed + first_own);
  const int64_t at = static_cast<int64_t>(index) * table_size(step);
  group.sequences.host(step.input_buffer)[index] = {.first_row = first_row,
                                                    .num_rows = sequence.num_tokens,
                                                    .first_position = sequence.first_position,
                                                    .block_table = group.block_tables.device + at};
}

// The positions before the branch in its first block, each from the sequence that computes it in this step or has it in
// its own block: never from a copy.
void StepArrays::place_copies(size_t group_index, const Batch& batch, size_t index, const Step& step) {
  const GroupInputs& group = groups_[group_index];
  const Batch::Sequence& branch = batch.sequences[index];
  const int64_t block = first_own_block(branch);
  const int64_t begin = block * kKvBlockSize;
  int64_t end = branch.first_position;
  for (auto source = static_cast<size_t>(branch.branch_of); end > begin;) {
    const Batch::Sequence& other = batch.sequences[source];
    const int64_t first = other.is_branch() ? std::max(begin, other.first_position) : begin;
    group.copies.host(step.input_buffer)[group_rows_[group_index].num_copies++] = {
        .from = placed_table(group, source, step)[block],
        .to = placed_table(group, index, step)[block],
        .first = static_cast<int32_t>(first - begin),
        .count = static_cast<int32_t>(end - first)};
    end = first;
    source = static_cast<size_t>(other.branch_of);
  }
}

int32_t* StepArrays::placed_table(const GroupInputs& group, size_t index, const Step& step) const {
  return group.block_tables.host(step.input_buffer) + static_cast<int64_t>(index) * table_size(step);
}

void StepArrays::place_tokens(const Batch& batch, int input_buffer, const Bounds& bounds) {
  for (const int32_t id : batch.token_ids) CHECK(id < bounds.vocab_size && -1 - id < bounds.num_chosen);
  std::ranges::copy(batch.token_ids, token_ids_.host(input_buffer));
}

void StepArrays::place_wanted_rows(const Batch& batch, bool can_sample, Step& step) {
  check_rows(batch.logit_rows, step.num_rows);
  check_rows(batch.hidden_rows, step.num_rows);
  step.num_logit_rows = static_cast<int64_t>(batch.logit_rows.size());
  step.num_hidden_rows = static_cast<int64_t>(batch.hidden_rows.size());
  CHECK(step.num_logit_rows <= limits_.max_logit_rows && step.num_hidden_rows <= limits_.max_hidden_rows);
  step.wanted_rows = wanted_rows_.device;
  step.hidden_places = hidden_places_.device;
  int32_t* const wanted = wanted_rows_.host(step.input_buffer);
  int32_t* end = std::ranges::copy(batch.logit_rows, wanted).out;
  int32_t* place = hidden_places_.host(step.input_buffer);
  auto logit_row = batch.logit_rows.begin();
  for (const int32_t row : batch.hidden_rows) {
    logit_row = std::lower_bound(logit_row, batch.logit_rows.end(), row);
    const bool has_logits = logit_row != batch.logit_rows.end() && *logit_row == row;
    *place++ = static_cast<int32_t>(has_logits ? logit_row - batch.logit_rows.begin() : end - wanted);
    if (!has_logits) *end++ = row;
  }
  step.num_wanted_rows = end - wanted;
  if (batch.sampling.empty()) return;
  CHECK(can_sample && batch.sampling.size() == batch.logit_rows.size());
  std::ranges::copy(batch.sampling, sampling_.host(step.input_buffer));
}

void StepArrays::place_tapped_rows(const Batch& batch, Step& step) {
  step.num_tapped_rows = static_cast<int64_t>(batch.tapped_rows.size());
  if (step.num_tapped_rows == 0) return;
  check_rows(batch.tapped_rows, step.num_rows);
  CHECK(limits_.num_taps() > 0 && step.num_tapped_rows <= limits_.max_hidden_rows);
  step.tapped_rows = tapped_rows_.device;
  step.tap_places = tap_places_.device;
  std::ranges::copy(batch.tapped_rows, tapped_rows_.host(step.input_buffer));
  int32_t* place = tap_places_.host(step.input_buffer);
  for (int64_t row = 0; row < step.num_tapped_rows; ++row) {
    for (int64_t tap = 0; tap < limits_.num_taps(); ++tap) {
      *place++ = static_cast<int32_t>(tap * step.num_tapped_rows + row);
    }
  }
}

void StepArrays::place_hidden_input(const Batch& batch, int64_t hidden_size, Step& step) {
  const auto size = static_cast<int64_t>(batch.hidden_input.size());
  step.hidden_input_width = size / step.num_rows;
  step.hidden_input = hidden_input_.device;
  CHECK(step.hidden_input_width * step.num_rows == size);
  CHECK(limits_.hidden_input_size == 0
            ? size == 0
            : step.hidden_input_width == limits_.hidden_input_size || step.hidden_input_width == hidden_size);
  std::ranges::copy(batch.hidden_input, hidden_input_.host(step.input_buffer));
}

int64_t StepArrays::table_size(const Step& step) const {
  return blocks_for(rounded_context(step.max_context, limits_.max_context));
}

bool StepArrays::is_recurrent(const Step& step) const {
  const auto copies = [](const KvGroupRows& group) { return group.num_copies > 0; };
  return step.num_rows == step.num_sequences && std::ranges::none_of(step.kv_groups, copies) &&
         step.num_logit_rows == step.num_rows && step.num_hidden_rows == 0 && step.num_tapped_rows == 0 &&
         step.hidden_input_width == 0 &&
         padded_rows(step.num_rows) <= std::min({limits_.max_rows, limits_.max_sequences, limits_.max_logit_rows});
}

void StepArrays::pad(Step& step) {
  const int buffer = step.input_buffer;
  const int64_t first = step.num_rows;
  step.num_rows = step.num_sequences = step.num_logit_rows = step.num_wanted_rows = padded_rows(first);
  step.max_context = rounded_context(step.max_context, limits_.max_context);
  for (int64_t row = first; row < step.num_rows; ++row) {
    const auto i = static_cast<size_t>(row);
    token_ids_.host(buffer)[row] = 0;
    positions_[i] = 0;
    is_long_[i] = 0;
    for (const GroupInputs& group : groups_) {
      group.slots.host(buffer)[row] = -1;
      group.sequences.host(buffer)[row] = {
          .first_row = row, .num_rows = 0, .first_position = 0, .block_table = nullptr};
    }
    wanted_rows_.host(buffer)[row] = static_cast<int32_t>(row);
    sampling_.host(buffer)[row] = {};
  }
}

void StepArrays::upload(Device& device, const Step& step, bool samples) const {
  const int buffer = step.input_buffer;
  token_ids_.upload(device, buffer, step.num_rows);
  for (const GroupInputs& group : groups_) {
    group.slots.upload(device, buffer, step.num_rows);
    group.sequences.upload(device, buffer, step.num_sequences);
    group.block_tables.upload(device, buffer, step.num_sequences * table_size(step));
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    const int64_t num_copies = step.kv_groups[g].num_copies;
    if (num_copies > 0) groups_[g].copies.upload(device, buffer, num_copies);
  }
  wanted_rows_.upload(device, buffer, step.num_wanted_rows);
  hidden_places_.upload(device, buffer, step.num_hidden_rows);
  tapped_rows_.upload(device, buffer, step.num_tapped_rows);
  tap_places_.upload(device, buffer, step.num_tapped_rows * limits_.num_taps());
  hidden_input_.upload(device, buffer, step.num_rows * step.hidden_input_width);
  if (samples) sampling_.upload(device, buffer, step.num_logit_rows);
}

}  // namespace quire
