// The methods that `quire compress` knows, a row each: what one wants of calibration and how it turns the matrices of a
// layer into codes, or into floats with zeros among them. The arithmetic is in the file of the method's name; methods
// know no files and no models.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "compress/calibration/input_statistics.h"
#include "compress/matrices/compressed_matrix.h"
#include "compress/matrices/float_matrix.h"
#include "compress/methods/float8.h"
#include "compress/methods/folding.h"
#include "compress/pruning/sparsity.h"

namespace quire {

struct MethodOptions {
  GroupGrid grid = {};       // pruning: of the codes that its floats become; 0 bits: floats remain
  bool act_order = false;    // GPTQ: groups of columns by the size of their inputs
  bool search_clip = false;  // round to nearest: scales that clip a group's range where that makes its error smaller
  Float8Blocks float8 = {};  // fp8
  SparsityPattern sparsity = {};  // of the methods that prune
};

struct LayerMatrix {
  std::string name;  // Hugging Face's
  int64_t rows = 0;
  int64_t cols = 0;
  Format format = Format::kF16;      // of floats that remain
  std::vector<float> values;         // [rows, cols]
  InputStatistics* input = nullptr;  // shared by matrices that read the same rows; null: the method needs none

  FloatMatrix view() const { return {.values = values, .rows = rows, .cols = cols}; }
};

// A layer in a method's hands. It may change values and vectors, where that leaves what the layer computes as it is.
struct LayerWork {
  std::vector<LayerMatrix> matrices;                               // to be compressed
  std::map<std::string, std::vector<float>, std::less<>> vectors;  // norms and biases
  std::vector<Folding> foldings;
};

struct CompressionMethod {
  const char* name = "";    // as the command line names it: "gptq"
  const char* layout = "";  // that codes are usually kept in; floats: "plain"
  StatisticsWanted wanted = {};
  bool needs_text = false;       // whether it calibrates
  bool sees_replaced = false;    // CalibrationOptions::sees_replaced
  bool changes_vectors = false;  // LayerWork::vectors
  bool prunes = false;           // MethodOptions::sparsity
  // What all results have in common.
  MatrixForm (*form)(const MethodOptions& options) = nullptr;
  // The result for each matrix of the layer.
  std::vector<CompressedMatrix> (*compress)(LayerWork& layer, const MethodOptions& options,
                                            ThreadPool& threads) = nullptr;
};

std::span<const CompressionMethod> compression_methods();
// Throws Error kInvalidArgument naming the known ones.
const CompressionMethod& compression_method(std::string_view name);

}  // namespace quire
