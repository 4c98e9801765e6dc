// Structured pruning: whole layers, KV groups with their heads, feed-forward channels and hidden dimensions leave, and
// an ordinary smaller checkpoint remains. First how important the parts are, then which tensors shrink how. Pure
// functions; names are Hugging Face's.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "compress/calibration/input_statistics.h"
#include "compress/matrices/float_matrix.h"

namespace quire {

// ---- importance -----------------------------------------------------------------------------------------------------

// How much a layer turns the residual stream (block influence, arXiv 2403.03853): 1 - the mean cosine of its rows
// before and after. in, out [rows, dim].
double block_influence(std::span<const float> in, std::span<const float> out, int64_t dim);

// What each input column adds to the matrix's output: the sum over the rows seen of |w_c x_c|^2. Of down_proj: feed-
// forward channels; of o_proj: heads; of the matrices behind a norm: hidden dimensions.
std::vector<double> column_importance(const FloatMatrix& matrix, const InputStatistics& input);

// Sums of neighbouring values, `size` each: the columns of a head, the heads of a KV group.
std::vector<double> sum_in_groups(std::span<const double> values, int64_t size);

// The places of the `count` largest values, ascending; the earlier one of equals.
std::vector<int32_t> most_important(std::span<const double> importance, int64_t count);

// ---- what remains ---------------------------------------------------------------------------------------------------

struct KeptLayer {
  int layer = 0;                   // of the original
  std::vector<int32_t> kv_groups;  // ascending; as many in every layer
  std::vector<int32_t> channels;   // of the feed-forward network; likewise
};
struct KeptParts {
  std::vector<KeptLayer> layers;  // ascending
  std::vector<int32_t> hidden;    // dimensions of the residual stream, ascending
};

// The sizes of a decoder, from its config.json.
struct DecoderShape {
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int64_t hidden = 0;
  int64_t inner = 0;
};
DecoderShape decoder_shape(const json::object& config);

KeptParts all_parts(const DecoderShape& shape);

// A tensor of the smaller model, as rows and columns of a tensor of the original. Tensors of one dimension have rows
// only.
struct TensorSlice {
  std::string from;
  std::string to;
  std::vector<int32_t> rows;  // empty: all
  std::vector<int32_t> cols;  // empty: all
};

// One slice for each of the original's tensors, `names`, that remains, in their order. Throws Error kUnsupported for a
// tensor of a layer whose axes are not known: experts, fused matrices.
std::vector<TensorSlice> plan_slices(std::span<const std::string> names, const DecoderShape& shape,
                                     const KeptParts& kept);

// The smaller model's config.json.
json::object shrink_config(const json::object& config, const KeptParts& kept);

// from [rows, cols] -> [rows of the slice, columns of the slice]
std::vector<float> take_slice(const FloatMatrix& from, const TensorSlice& slice);

}  // namespace quire
