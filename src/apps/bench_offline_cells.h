// What `quire bench offline` measures: prefill or decode of some sequences at some depth, on the model runner alone.
// One thread; the runner outlives all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/roofs.h"
#include "models/running/model_runner.h"
#include "tensor/aligned_buffer.h"

namespace quire {

struct Cell {
  bool is_prefill;
  int64_t count;  // tokens of each sequence
  int64_t depth;
  int64_t sequences;

  // "decode 128 @ 4096 x 8".
  std::string text(int64_t shared_prefix) const;
};

// KV blocks that so many positions need.
int64_t blocks_of(int64_t positions);

// The sequences of all cells. Their tokens depend on the position alone, so all have the same K and V: one sequence is
// computed and copied to the others. Behind the shared blocks each has its own.
class Sequences {
 public:
  Sequences(ModelRunner& runner, int64_t shared_prefix);

  // Runs the cell and returns how long it took, without the time to fill the positions before it.
  double seconds(const Cell& cell);

 private:
  // Fills positions [0, depth) of every sequence.
  void fill(int64_t depth);
  // `count` tokens of each of `num` sequences behind `depth`: one prompt after the other, in steps as large as allowed.
  void prefill(int64_t depth, int64_t count, int64_t num);
  // `count` steps of one token of each of `num` sequences.
  void decode(int64_t depth, int64_t count, int64_t num);
  void add(int64_t sequence, int64_t first, int64_t count);
  void run();

  ModelRunner& runner_;
  int64_t num_shared_;
  std::vector<BlockTable> tables_;
  int64_t filled_ = 0;
  Batch batch_;
};

// Measures the machine's roofs beside a cell and the share that the cell reached: of reading weights, K and V for
// decode, of multiplying in the layers for prefill. Dense models only: in a mixture of experts the weights that are
// read depend on the tokens.
class RoofShare {
 public:
  RoofShare(const Checkpoint& checkpoint, const ModelRunner& runner, int64_t shared_prefix);

  // Of a cell that took so many seconds.
  double measure(const Cell& cell, double seconds);

 private:
  ThreadPool pool_;
  const Kernels& table_;
  RoofMeter meter_;
  AlignedBuffer memory_;
  const ModelRunner& runner_;
  int64_t shared_prefix_;
  bool is_integer_;
};

}  // namespace quire
