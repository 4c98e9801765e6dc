// A batch as the arrays of a step: which token stands where, which slots and blocks its sequence uses, which results
// are wanted. What kernels read lies in StepInputs, so that it can be filled by the host and uploaded as part of a
// recording.
//
// Owned by the model runner and used by its thread. Allocates only in take().
#pragma once

#include <cstdint>
#include <vector>

#include "models/arena.h"
#include "models/batch.h"
#include "models/step.h"

namespace quire {

class StepArrays {
 public:
  // What a batch may ask for beside its limits.
  struct Bounds {
    int64_t vocab_size = 0;
    int64_t hidden_size = 0;
    const KvCache* kv = nullptr;  // whose blocks the tables name
    bool can_sample = false;
    int64_t num_chosen = 0;  // tokens that the step before chose
  };

  // Null pointers while the arenas count.
  void take(Arena& workspace, InputArena& inputs, const StepLimits& limits);

  // Checks the batch and lays out where its rows belong: all of a Step that follows from the batch alone.
  Step place(const Batch& batch, int input_buffer, const Bounds& bounds);
  // Whether the step comes again and again, a token for every sequence, and has room for pad().
  bool is_recurrent(const Step& step) const;
  // Appends rows of token 0, which are written nowhere and which nobody reads, up to one of few numbers, and rounds the
  // context up, so that a device has few kinds of steps to record.
  void pad(Step& step);
  // Has the arrays of the step on the device.
  void upload(Device& device, const Step& step, bool samples) const;

  const SamplingRow* sampling() const { return sampling_.device; }  // [num_logit_rows]
  int32_t* tokens() const { return tokens_; }                       // [num_logit_rows] on the device

 private:
  // What a KV group has of a step beside what every layer sees.
  struct GroupInputs {
    StepInput<int64_t> slots;
    StepInput<AttentionSequence> sequences;
    StepInput<int32_t> block_tables;  // [num_sequences, table_size]
    StepInput<KvCopy> copies;         // at most one for each position of a block before each branch
    int64_t num_blocks = 0;           // of the pool
  };

  // Sequence `index` of the batch.
  void place_sequence(const Batch& batch, size_t index, const Step& step, int64_t first_row);
  // Its part of a group.
  void place_blocks(size_t group_index, const Batch& batch, size_t index, int64_t first_row, const Step& step);
  void place_copies(size_t group_index, const Batch& batch, size_t index, const Step& step);
  int32_t* placed_table(const GroupInputs& group, size_t index, const Step& step) const;
  void place_tokens(const Batch& batch, int input_buffer, const Bounds& bounds);
  void place_wanted_rows(const Batch& batch, bool can_sample, Step& step);
  void place_tapped_rows(const Batch& batch, Step& step);
  void place_hidden_input(const Batch& batch, int64_t hidden_size, Step& step);
  // Blocks of a sequence in block_tables: the step's context rounded up, so that it changes with that of pad().
  int64_t table_size(const Step& step) const;

  StepLimits limits_;
  std::vector<int64_t> positions_;
  std::vector<uint8_t> is_long_;
  StepInput<int32_t> token_ids_;
  std::vector<GroupInputs> groups_;
  std::vector<KvGroupRows> group_rows_;  // the same on the device
  StepInput<int32_t> wanted_rows_;
  StepInput<int32_t> hidden_places_;
  StepInput<int32_t> tapped_rows_;
  StepInput<int32_t> tap_places_;
  StepInput<float> hidden_input_;
  StepInput<SamplingRow> sampling_;
  int32_t* tokens_ = nullptr;
};

}  // namespace quire
