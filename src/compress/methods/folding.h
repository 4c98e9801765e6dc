// Channels between two tensors can be scaled for nothing: what one divides, the matrices that read it multiply. Which
// tensors of a layer stand in such a pair, and the arithmetic on them. AWQ and SmoothQuant choose the factors.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "compress/calibration/input_statistics.h"
#include "models/loading/checkpoint.h"

namespace quire {

// A tensor whose rows make the channels: a norm's weight (rows of one element) or a matrix, and its bias if it has one.
struct ChannelSource {
  std::string name;       // of the weight
  std::string bias;       // empty: none. Its elements begin at first_row too
  int64_t first_row = 0;  // in the tensor: fused matrices hold more
  float offset = 0;       // a norm multiplies by offset + weight (Gemma: 1)
};

struct Folding {
  ChannelSource source;
  int64_t num_channels = 0;          // rows of the source
  std::vector<std::string> readers;  // all the matrices [any, cols] that read it
  // [cols of the readers] the channel that each column reads; empty: column i reads channel i. Heads that share K and V
  // read a channel through several columns of o_proj.
  std::vector<int32_t> channels;

  int64_t channel_of(int64_t column) const { return channels.empty() ? column : channels[static_cast<size_t>(column)]; }
};

// The pairs of a layer of a decoder: norm -> q, k, v; v -> o; norm -> gate, up (of all experts, and the router);
// up -> down (of each expert). Names are Hugging Face's. Pairs whose tensors the checkpoint does not have, or has in
// other shapes, are left out.
std::vector<Folding> foldings(const Checkpoint& checkpoint, int layer);

// The arithmetic; factors are > 0.

// Of every channel -> of every column of the readers, [cols].
std::vector<float> factors_of_columns(const Folding& folding, std::span<const float> channel_factors, int64_t cols);
// matrix [rows, cols]: column i *= factors[i].
void multiply_columns(std::span<float> matrix, std::span<const float> column_factors);
// Rows of row_size elements (a norm's and a bias's: 1), of which the first is the source's: row i /= factors[i]; with
// the source's offset where it is a norm.
void divide_rows(std::span<float> rows, int64_t row_size, float offset, std::span<const float> channel_factors);
// What calibration would have seen, had column i of the input been divided by factors[i].
void divide_input(InputStatistics& input, std::span<const float> column_factors);

}  // namespace quire
